/** A fleet in memory behind the real admin plane: what the routes and the command line are tried against. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MusterError } from '../../src/errors.ts'
import { type AdminDeciders, type AdminPlane, createAdminPlane } from '../../src/http/admin.ts'
import type { BootWithConsole, EventView } from '../../src/http/admin-boots.ts'
import type { PullProgress } from '../../src/http/admin-images.ts'
import type { MachineView } from '../../src/http/admin-machines.ts'
import type { NamedDocument } from '../../src/http/admin-profiles.ts'
import type { Status } from '../../src/http/admin-status.ts'
import { loadAdminToken } from '../../src/http/admin-token.ts'
import type { TlsIdentity } from '../../src/http/tls.ts'
import { silentLog } from '../../src/log.ts'

export const someTime = '2026-01-31T08:00:00Z'

export function aMachine(id: string, more: Partial<MachineView> = {}): MachineView {
  return {
    id,
    name: `node-${id.slice(2, 6)}`,
    enrolment: 'discovered',
    trust: 'none',
    arch: 'amd64',
    labels: {},
    macs: ['52:54:00:12:34:56'],
    hardware: { hardwareIds: [], memoryBytes: 2 ** 31, processors: 2 },
    firstSeenAt: someTime,
    lastSeenAt: someTime,
    ...more,
  }
}

export const aBoot: BootWithConsole = {
  id: 'b-aaaaaaaaaaaaaaaa',
  machineId: 'm-aaaaaaaaaaaaaaaa',
  openedAt: someTime,
  lastSeenAt: someTime,
  agentOrigin: 'network',
  agentVersion: '0.1.0',
  arch: 'amd64',
  address: '192.0.2.7',
  step: 'blobs',
  outcome: 'failed',
  outcomeAt: someTime,
  plan: {
    target: 'hello/1.0.0/amd64',
    digest: `sha256:${'a'.repeat(64)}`,
    issuedAt: someTime,
    because: ['profile all'],
  },
  console: 'blob-digest: \u001b[2Jwrong bytes\n',
}

export type World = {
  plane: AdminPlane
  url: string
  socketPath: string
  data: string
  token: string
  machines: Map<string, MachineView>
  clusters: Map<string, NamedDocument>
  blobs: Map<string, Buffer>
  partials: Map<string, Buffer>
  status: Status
  pulls: PullProgress[]
  profileWarnings: string[]
  /** Names of profiles that were put with `?unpublished=true`. */
  unpublished: string[]
  targets: { bytes: Uint8Array; posted: Uint8Array[] }
  /** Events that nobody asked for yet; `happens` adds one and tells the watchers. */
  happens(event: Partial<EventView>): void
  watchers(): number
  [Symbol.asyncDispose](): Promise<void>
}

export async function createWorld(options: { tls?: TlsIdentity; folder?: string } = {}): Promise<World> {
  const root = await mkdtemp(join(tmpdir(), 'muster-admin-'))
  const data = join(root, options.folder ?? 'data')
  const events: EventView[] = []
  const watchers = new Set<(event: EventView) => void>()
  const profiles = new Map<string, NamedDocument>()
  const token = await loadAdminToken({ keysDirectory: join(data, 'keys') })
  const world: Omit<World, 'plane' | 'url'> = {
    socketPath: join(data, 'admin.sock'),
    data,
    token: token.issued!,
    machines: new Map(),
    clusters: new Map(),
    blobs: new Map(),
    partials: new Map(),
    status: {
      version: '0.1.0',
      startedAt: someTime,
      ready: true,
      data,
      planes: [{ name: 'firmware', url: 'http://192.0.2.1:8080' }],
      dhcp: { mode: 'off', addresses: [] },
      missing: [],
      agents: [],
      repositories: [
        {
          name: 'main',
          roles: [{ role: 'timestamp', version: 3, expires: '2026-02-01T08:00:00Z', keyHere: true }],
        },
      ],
      machines: { discovered: 1 },
      unknownFiles: 1,
    },
    pulls: [],
    profileWarnings: [],
    unpublished: [],
    targets: { bytes: Buffer.from('{"signatures":[],"signed":{"version":1}}\n'), posted: [] },
    happens(event) {
      const one = {
        id: events.length + 1,
        at: someTime,
        kind: 'note',
        assurance: 'session',
        message: '',
        data: {},
        ...event,
      }
      if (one.id !== 0) events.push(one)
      for (const watcher of watchers) watcher(one)
    },
    watchers: () => watchers.size,
    async [Symbol.asyncDispose]() {
      await plane[Symbol.asyncDispose]()
      await rm(root, { recursive: true, force: true })
    },
  }
  const find = (name: string) => {
    const found = [...world.machines.values()].find(
      (one) => one.id === name || one.name.startsWith(name) || one.macs.includes(name.replaceAll('-', ':')),
    )
    if (found === undefined) throw new MusterError('machine-not-found', `There is no machine '${name}'.`)
    return found
  }
  const enrolmentAfter = { quarantine: 'quarantined', retire: 'retired' } as const
  const decide = (machine: string, enrolment: MachineView['enrolment'], by: string) => {
    const next = { ...find(machine), enrolment, decidedAt: someTime, decidedBy: by }
    world.machines.set(next.id, next)
    return next
  }
  const matches = (filter: { machineId?: string; bootId?: string }) => (one: EventView) =>
    (filter.machineId === undefined || one.machineId === filter.machineId) &&
    (filter.bootId === undefined || one.bootId === filter.bootId)
  const deciders: AdminDeciders = {
    bootFiles: {
      unknown: () => [
        {
          name: 'pxelinux.0',
          count: 3,
          firstAt: someTime,
          lastAt: someTime,
          over: ['tftp'],
          addresses: ['192.0.2.7'],
        },
      ],
      lintRaspberryPi: async (publicKey) => [
        { level: publicKey === undefined ? 'ok' : 'error', what: 'HTTP boot', sentence: 'It was looked at.' },
      ],
    },
    machines: {
      async list({ after = '', limit, enrolment }) {
        return [...world.machines.values()]
          .filter((one) => one.id > after && (enrolment === undefined || one.enrolment === enrolment))
          .sort((a, b) => (a.id < b.id ? -1 : 1))
          .slice(0, limit)
      },
      get: async (machine) => find(machine),
      async patch(machine, { name, labels }) {
        const found = find(machine)
        const merged = Object.entries({ ...found.labels, ...labels }).filter(
          (entry): entry is [string, string] => entry[1] !== null,
        )
        const next = { ...found, name: name ?? found.name, labels: Object.fromEntries(merged) }
        world.machines.set(found.id, next)
        return next
      },
      async approve(machine, by, { macs, ...claims }) {
        const found = find(machine)
        const { macs: now, name } = found
        if (macs !== undefined && macs.join() !== now.join())
          throw new MusterError('machine-changed', `${name} says ${now.join()}`)
        for (const [claim, value] of Object.entries(claims))
          if (value !== (found[claim as keyof typeof claims] ?? ''))
            throw new MusterError('machine-changed', `${name} says another ${claim}`)
        return decide(machine, 'approved', by)
      },
      decide: async (machine, decision, by) => decide(machine, enrolmentAfter[decision], by),
      async forget(machine) {
        world.machines.delete(find(machine).id)
      },
      async why(machine) {
        const { id, name, enrolment, trust } = find(machine)
        return {
          machine: { id, name, enrolment, trust },
          eligibility: {
            status: 'boot',
            profile: 'all',
            because: ["profile 'all' matches: its selector is empty"],
          },
          release: {
            target: 'hello/1.0.0/amd64',
            digest: `sha256:${'a'.repeat(64)}`,
            minReleaseCounter: 0,
            because: ['channel stable names 1.0.0'],
          },
          profiles: [{ name: 'all', matches: true, measure: 0, sentences: ['its selector is empty'] }],
          lastBoot: {
            id: aBoot.id,
            outcome: 'failed',
            agentOrigin: 'network',
            trust: 'its agent came over the network unsigned',
            because: [],
          },
        }
      },
      boots: async (machine) => (find(machine).id === aBoot.machineId ? [aBoot] : []),
    },
    boots: {
      async get(boot) {
        if (boot !== aBoot.id) throw new MusterError('boot-not-found', `There is no boot '${boot}'.`)
        return aBoot
      },
    },
    events: {
      list: async ({ after, limit, ...filter }) =>
        events
          .filter(matches(filter))
          .filter((one) => one.id > after)
          .slice(0, limit),
      latest: async ({ limit, ...filter }) => events.filter(matches(filter)).slice(-limit),
      named: async (events) => [...events],
      subscribe(listener) {
        watchers.add(listener)
        return () => watchers.delete(listener)
      },
      machineId: async (machine) => find(machine).id,
    },
    images: {
      list: async () => ({ repository: 'main', images: [], skipped: [] }),
      async *pull() {
        yield* world.pulls
      },
      async metadata(repository, name) {
        if (repository !== 'main')
          throw new MusterError('repository-not-found', `There is no repository ${repository}.`)
        return name === '1.targets.json' ? world.targets.bytes : undefined
      },
      async acceptTargets(_, bytes) {
        world.targets.posted.push(bytes)
        return { version: 2 }
      },
    },
    blobs: {
      size: async (digest) => world.blobs.get(digest)?.length,
      readAll: async (digest) => world.blobs.get(digest) ?? Buffer.alloc(0),
      partialSize: async (digest) => world.partials.get(digest)?.length ?? 0,
      async write({ digest, size }, source, { offset }) {
        let bytes = (world.partials.get(digest) ?? Buffer.alloc(0)).subarray(0, offset)
        try {
          for await (const chunk of source) bytes = Buffer.concat([bytes, chunk])
        } finally {
          world.partials.set(digest, bytes)
        }
        if (bytes.length < size) throw new MusterError('blob-truncated', `${digest} ended early.`)
        world.partials.delete(digest)
        if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== digest)
          throw new MusterError('blob-digest', `${digest} has other bytes.`)
        world.blobs.set(digest, bytes)
      },
    },
    profiles: {
      ...documents(profiles, 'profile-not-found'),
      async put(document, { unpublished }) {
        if (unpublished) world.unpublished.push(document.name)
        const kept = await documents(profiles, 'profile-not-found').put(document)
        return { document: kept, warnings: world.profileWarnings }
      },
    },
    clusters: documents(world.clusters, 'cluster-not-found'),
    status: { status: async () => world.status, ready: async () => world.status.ready },
  }
  const plane = await createAdminPlane({
    version: '0.1.0',
    token,
    deciders,
    log: silentLog,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
  })
  const { url } = await plane.listen({ host: '127.0.0.1', port: 0, socketPath: world.socketPath })
  return Object.assign(world, { plane, url })
}

function documents(known: Map<string, NamedDocument>, code: 'profile-not-found' | 'cluster-not-found') {
  return {
    list: async () => [...known.values()],
    async get(name: string) {
      const found = known.get(name)
      if (found === undefined) throw new MusterError(code, `There is no '${name}'.`)
      return found
    },
    async put(document: NamedDocument) {
      if (document['mode'] === 'install')
        throw new MusterError('profile-invalid', "mode: 'install' is reserved.")
      known.set(document.name, document)
      return document
    },
    async remove(name: string) {
      known.delete(name)
    },
  }
}
