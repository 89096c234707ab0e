/** The admin plane's questions, answered by the rooms that know: machines, releases, store, oci. Nothing is decided here. */

import type { Clusters } from '../cluster/clusters.ts'
import { MusterError } from '../errors.ts'
import type { Machines } from '../machines/machines.ts'
import type { Explanation } from '../machines/why.ts'
import { type PullProgress as OciProgress, pullInto } from '../oci/pull.ts'
import { parseReference } from '../oci/reference.ts'
import type { RegistryClient } from '../oci/registry.ts'
import type { CatalogImage } from '../releases/catalog.ts'
import type { Releases } from '../releases/releases.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { AdminDeciders } from './admin.ts'
import type { PullProgress, PullRequest } from './admin-images.ts'
import type { WhyView } from './admin-machines.ts'
import type { NamedDocument } from './admin-profiles.ts'
import type { StatusDeciders } from './admin-status.ts'

export function createAdminDeciders(options: {
  machines: Machines
  clusters: Pick<Clusters, 'list' | 'get' | 'put' | 'remove'>
  releases: Releases
  blobs: BlobStore
  registry: RegistryClient
  status: StatusDeciders
}): AdminDeciders {
  const { machines, clusters, releases, blobs, registry, status } = options
  const exactly = (text: string) => findExactly(machines, text)
  return {
    machines: {
      list: (query) => machines.list(query),
      get: (machine) => machines.find(machine),
      async patch(machine, { name, labels }, by) {
        const { id } = await machines.find(machine)
        if (name !== undefined) await machines.rename(id, name, by)
        if (labels !== undefined) await machines.label(id, labels, by)
        return machines.get(id)
      },
      decide: (machine, decision, by) => machines[decision](machine, by),
      async forget(machine, by) {
        await machines.forget((await exactly(machine)).id, by)
      },
      why: async (machine) => toWhy(await machines.why(machine), releases, machines),
      boots: async (machine, limit) => machines.boots((await machines.find(machine)).id, limit),
    },
    boots: { get: (boot) => machines.boot(boot) },
    events: {
      list: (query) => machines.events(query),
      latest: (query) => machines.events(query),
      subscribe: (listener) => machines.subscribe(listener),
      machineId: async (machine) => (await machines.find(machine)).id,
    },
    images: {
      async list() {
        const { skipped, images } = releases.catalog()
        return {
          repository: releases.repository,
          images: images().map(toImage),
          skipped: skipped.map(({ message }) => message),
        }
      },
      pull: (request, signal) => pull({ registry, blobs, request, signal }),
      async metadata(repository, name) {
        requireRepository(repository)
        return releases.metadata(name)
      },
      async acceptTargets(repository, bytes) {
        requireRepository(repository)
        await releases.acceptTargets(bytes)
        return { version: releases.catalog().trusted.versions.targets }
      },
    },
    blobs,
    profiles: {
      list: async () => (await machines.profiles.list()) as NamedDocument[],
      get: async (name) => (await machines.profiles.get(name)) as NamedDocument,
      put: async (document) => (await machines.profiles.put(document)) as NamedDocument,
      remove: (name) => unlessGone('profile-not-found', () => machines.profiles.remove(name)),
    },
    clusters: {
      list: async () => (await clusters.list()) as NamedDocument[],
      get: async (name) => (await clusters.get(name)) as NamedDocument,
      put: async (document) => (await clusters.put(document)) as NamedDocument,
      async remove(name) {
        const users = (await machines.profiles.list()).filter(({ cluster }) => cluster === name)
        if (users.length > 0) throw inUse(name, users)
        await unlessGone('cluster-not-found', () => clusters.remove(name))
      },
    },
    status,
  }

  function requireRepository(name: string): void {
    if (name === releases.repository) return
    throw new MusterError(
      'repository-not-found',
      `There is no repository '${name}' here; this server's is '${releases.repository}'.`,
    )
  }
}

/**
 * A machine by its whole id, name or MAC address. What cannot be undone takes no beginnings of names: said twice, `rack-1`
 * would be gone and mean `rack-10`.
 */
async function findExactly(machines: Machines, text: string) {
  const machine = await machines.find(text)
  const isMac = /[:.-]/.test(text) && !text.startsWith('m-') && machine.macs.length > 0
  if (machine.id === text || machine.name === text) return machine
  if (isMac && machine.macs.some((mac) => bare(mac) === bare(text))) return machine
  throw new MusterError(
    'machine-ambiguous',
    `'${text}' is only the beginning of ${machine.name}: to forget a machine, write its whole name or id.`,
  )
}

function bare(mac: string): string {
  return mac.toLowerCase().replace(/[^0-9a-f]/g, '')
}

function inUse(cluster: string, users: readonly { name: string }[]): MusterError {
  const names = users.map(({ name }) => `'${name}'`).join(', ')
  return new MusterError(
    'cluster-invalid',
    `The cluster '${cluster}' is named by ${users.length === 1 ? 'the profile' : 'the profiles'} ${names}; change them first, or their machines could not boot.`,
  )
}

/** Removing what is gone already is what was wanted. */
async function unlessGone(
  code: 'profile-not-found' | 'cluster-not-found',
  remove: () => Promise<void>,
): Promise<void> {
  try {
    await remove()
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== code) throw error
  }
}

async function toWhy(explained: Explanation, releases: Releases, machines: Machines): Promise<WhyView> {
  const { eligibility, ...rest } = explained
  if (eligibility.status !== 'boot') return { ...rest, eligibility }
  const { image, name } = eligibility.profile
  const view = { ...rest, eligibility: { ...eligibility, profile: name } }
  if (image === undefined) return view
  const { arch } = await machines.get(rest.machine.id)
  try {
    const found = releases
      .catalog()
      .resolve({ image: image.name, channel: image.channel, version: image.version, arch })
    const { target, floor, because } = found
    return {
      ...view,
      release: { target: target.path, digest: `sha256:${target.sha256}`, minReleaseCounter: floor, because },
    }
  } catch (error) {
    if (!(error instanceof MusterError)) throw error
    return { ...view, release: { code: error.code, reason: error.message } }
  }
}

function toImage({ name, releases, channels }: CatalogImage) {
  return {
    name,
    releases: releases.map(({ version, arch, custom, manifest, path }) => ({
      version,
      arch,
      kind: custom.kind,
      releaseCounter: custom.releaseCounter,
      hardwareIds: custom.hardwareIds,
      digest: manifest.digest,
      ref: custom.oci.ref,
      target: path,
    })),
    channels: channels.map(({ channel, version, releaseCounter, minReleaseCounter }) => ({
      channel,
      version,
      releaseCounter,
      minReleaseCounter,
    })),
  }
}

const progressEveryMs = 250

/** One line in a quarter of a second is enough for people; the last one is always said. */
async function* pull(options: {
  registry: RegistryClient
  blobs: BlobStore
  request: PullRequest
  signal: AbortSignal
}): AsyncGenerator<PullProgress> {
  const { registry, blobs, request, signal } = options
  const { registry: host, name, tag, digest } = parseReference(request.reference)
  const source = registry.repository({ registry: host, name })
  const wanted = { ...(tag === undefined ? {} : { tag }), ...(digest === undefined ? {} : { digest }) }
  const manifests =
    request.arch === undefined
      ? await source.resolveAll(wanted, { signal })
      : [await source.resolve(wanted, { arch: request.arch, signal })]
  let latest: OciProgress | undefined
  let ended = false
  const done = pullInto({
    source,
    manifests,
    sink: blobs,
    signal,
    onProgress: (progress) => {
      latest = progress
    },
  }).finally(() => {
    ended = true
  })
  // What it throws is thrown below; here it must only not be a rejection that nobody handles.
  const settled = done.catch(() => undefined)
  while (!ended) {
    await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, progressEveryMs))])
    if (latest !== undefined && !ended) yield { kind: 'progress', ...latest }
  }
  yield { kind: 'progress', ...(await done) }
  yield {
    kind: 'done',
    manifests: manifests.map(({ descriptor, arch }) => ({
      ...(arch === undefined ? {} : { arch }),
      digest: descriptor.digest,
      size: descriptor.size,
      mediaType: descriptor.mediaType,
    })),
  }
}
