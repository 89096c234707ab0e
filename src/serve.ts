/** The server, wired top to bottom: configuration → store → deciders → listeners. What started stops in reverse order. */

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type BootFiles, createBootFiles } from './boot/files.ts'
import type { DecideFirmware } from './boot/firmware.ts'
import { type BootSource, createBootSource } from './boot/source.ts'
import { createUnknownFiles, type UnknownFiles } from './boot/unknown-files.ts'
import { agentArgumentsOf } from './config/agent-arguments.ts'
import type { LoadedConfig } from './config/load.ts'
import type { Config } from './config/schema.ts'
import { createAdminPlane } from './http/admin.ts'
import { isLoopbackHost } from './http/admin-access.ts'
import { type AdminToken, loadAdminToken } from './http/admin-token.ts'
import { createReleaseContent } from './http/release-content.ts'
import { loadTlsIdentity, type TlsIdentity } from './http/tls.ts'
import type { Log } from './log.ts'
import type { Machines } from './machines/machines.ts'
import type { Releases } from './releases/releases.ts'
import { type AdminFacts, adminDeciders } from './setup/admin-deciders.ts'
import { type Commands, commandsOf } from './setup/commands.ts'
import { prepareDataFolder, requireFilesFolder } from './setup/data-folder.ts'
import { createDeciders, readUpstream } from './setup/deciders.ts'
import { checkDhcp } from './setup/dhcp.ts'
import { toFirmwareNote } from './setup/firmware-notes.ts'
import type { Missing } from './setup/first-start.ts'
import { type Greeting, greeting } from './setup/greeting.ts'
import { databaseLimitsOf } from './setup/limits.ts'
import { type Listening, listen, type Ports } from './setup/listeners.ts'
import { createOnce, type Once } from './setup/once.ts'
import { ownHosts } from './setup/own-hosts.ts'
import { type Paths, pathsOf } from './setup/paths.ts'
import { tryPorts } from './setup/port-trial.ts'
import { createPreparation } from './setup/prepare.ts'
import { createRegistries } from './setup/registries.ts'
import { startTimers } from './setup/timers.ts'
import { type BlobStore, createBlobStore } from './store/blobs.ts'
import { openDatabase } from './store/database.ts'
import { createDhcpLeases } from './store/dhcp-leases.ts'
import { createStore } from './store/store.ts'

export type Running = AsyncDisposable & {
  config: Config
  paths: Paths
  tls: TlsIdentity
  ports: Listening['ports']
  machines: Machines
  releases: Releases
  blobs: BlobStore
  /** What machines would need and is not there now; what is still being made is among it. */
  missing(): Missing[]
  /** Resolves when what the start had to make is made, or `missing()` says why it is not; never rejects. */
  prepared: Promise<void>
}

export type ServeOptions = {
  loaded: LoadedConfig
  log: Log
  /** Lines for the person who started it: progress, addresses, what is missing. */
  print(line: string): void
  /** How a person types commands here; by default as in a checkout. */
  commands?: Commands
  now?: () => Date
  random?: (bytes: number) => Uint8Array
}

/**
 * Resolves when it listens; what it lacks is made beside that, and stopping it stops that.
 * @throws MusterError with one sentence for whatever keeps it from starting.
 */
export async function serve(options: ServeOptions): Promise<Running> {
  const { loaded, log, print, now = () => new Date(), random = randomBytes } = options
  const { config } = loaded
  const paths = pathsOf(config)
  const { commands = commandsOf(paths) } = options
  const ports: Ports = { firmware: 0, agent: 0, admin: 0, tftp: undefined }
  await using stack = new AsyncDisposableStack()

  // What a start cannot do with, before it makes anything.
  await requireFilesFolder(config.files)
  checkDhcp(config)
  const upstream = await readUpstream(config, now().getTime())
  const registries = stack.use(createRegistries(loaded))
  if (!existsSync(paths.database)) await tryPorts(config)

  // What is on disk.
  await prepareDataFolder(paths)
  const database = stack.use(
    await openDatabase({ path: paths.database, log, now, limits: databaseLimitsOf(config) }),
  )
  const { verifyOnOpen } = config.store
  const blobs = await createBlobStore({ directory: paths.blobs, log, verifyOnOpen })
  const store = await createStore({ directory: paths.store, blobs, log })
  const tls = await loadTlsIdentity(paths.keys)
  const token = await loadAdminToken({ keysDirectory: paths.keys })

  // Who decides.
  const { fetch } = registries
  const deciders = createDeciders({
    ...{ config, paths, log, now, random },
    ...{ database, blobs, store, tls, fetch, upstream },
  })
  const { machines, releases } = deciders
  stack.use(releases)
  await releases.init({ allowNew: (await machines.list({ limit: 1 })).length === 0 })

  const once = createOnce({ database, now })
  const preparation = await createPreparation({
    ...{ config, paths, releases, machines, once, now, print, commands },
    pin: tls.pin,
  })
  const { missing } = preparation

  const unknown = createUnknownFiles({ limits: config.unknownFiles, now })
  const files = createBootFiles({ bootDirectory: paths.boot, operatorDirectory: config.files })

  // Who listens.
  const facts = { ...deciders, config, paths, tls, ports, blobs, missing, unknown, files, startedAt: now() }
  stack.use(
    await listen({
      ...deciders,
      ...{ config, paths, tls, log, ports },
      boot: bootSource({ ...deciders, config, files, unknown, ports, now }),
      content: createReleaseContent({ releases, store }),
      dhcp: { leases: createDhcpLeases(database), now: () => now().getTime(), random },
      createAdmin: () => adminPlane({ ...facts, registries: registries.client }, token, log),
    }),
  )
  stack.use(startTimers({ config, machines, releases, blobs, ports, log, now: () => now().getTime() }))
  await greet({ config, paths, ports, commands }, { token, once, print })

  // What is made beside that; it is the first to be stopped.
  stack.use(preparation)
  const prepared = preparation.run()
  const started = stack.move()
  return {
    ...{ config, paths, tls, ports, machines, releases, blobs, missing, prepared },
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}

/** Tells the timeline of what it gives. */
function bootSource(parts: {
  config: Config
  decideFirmware: DecideFirmware
  machines: Machines
  files: BootFiles
  unknown: UnknownFiles
  ports: Ports
  now: () => Date
}): BootSource {
  const { config, decideFirmware, files, machines, now, ports, unknown } = parts
  return createBootSource({
    ...{ files, unknown, now },
    advertise: config.advertise,
    ownHosts: () => ownHosts(config),
    agentArguments: (arch) => agentArgumentsOf(config, arch),
    peers: Object.entries(config.agent.peers).map(([agent, { firmware }]) => ({ agent, firmware })),
    decide: decideFirmware,
    ports: () => ports,
    onActivity: (activity) => machines.noteFirmware(toFirmwareNote(activity)),
  })
}

/** A start that was killed before it could say this leaves it to the next one, with a token that nobody has seen either. */
async function greet(
  facts: Pick<Greeting, 'config' | 'paths' | 'ports' | 'commands'>,
  options: { token: AdminToken; once: Once; print(line: string): void },
): Promise<void> {
  const { once, print, token } = options
  const firstStart = !(await once.isDone('greeted'))
  const newToken = token.issued ?? (firstStart ? await token.replace() : undefined)
  for (const line of greeting({ ...facts, firstStart, newToken })) print(line)
  if (firstStart) await once.done('greeted')
}

async function adminPlane(facts: Omit<AdminFacts, 'version'>, token: AdminToken, log: Log) {
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, '../package.json'), 'utf8')) as {
    version: string
  }
  return createAdminPlane({
    version,
    token,
    log,
    limits: facts.config.admin,
    ...(isLoopbackHost(facts.config.admin.host) ? {} : { tls: facts.tls }),
    deciders: adminDeciders({ ...facts, version }),
  })
}
