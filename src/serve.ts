/** The server, wired top to bottom: configuration → store → deciders → listeners. What started stops in reverse order. */
import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createPlanner } from './boot/decide.ts'
import { createBootFiles } from './boot/files.ts'
import { createFirmwareScripts } from './boot/firmware.ts'
import { createClusters } from './cluster/clusters.ts'
import type { LoadedConfig } from './config/load.ts'
import type { Config } from './config/schema.ts'
import { createNodeCrypto } from './crypto/node.ts'
import { MusterError } from './errors.ts'
import { createAdminPlane } from './http/admin.ts'
import { isLoopbackHost } from './http/admin-access.ts'
import { loadAdminToken } from './http/admin-token.ts'
import { createReleaseContent } from './http/release-content.ts'
import { loadTlsIdentity, type TlsIdentity } from './http/tls.ts'
import type { Log } from './log.ts'
import { createMachines, type Machines } from './machines/machines.ts'
import { createReleases, type Releases } from './releases/releases.ts'
import type { Upstream } from './releases/sync.ts'
import { adminDeciders } from './setup/admin-deciders.ts'
import { prepareDataFolder } from './setup/data-folder.ts'
import { isDemonstration } from './setup/demonstration.ts'
import { hasAgent, type Missing } from './setup/first-start.ts'
import { greeting } from './setup/greeting.ts'
import { type Listening, listen, type Ports } from './setup/listeners.ts'
import { type Paths, pathsOf } from './setup/paths.ts'
import { prepareServer } from './setup/prepare.ts'
import { createRegistries } from './setup/registries.ts'
import { startTimers } from './setup/timers.ts'
import { periodsOf } from './signing/expiry.ts'
import { type BlobStore, createBlobStore } from './store/blobs.ts'
import { openDatabase } from './store/database.ts'
import { createStore } from './store/store.ts'

export type Running = AsyncDisposable & {
  config: Config
  paths: Paths
  tls: TlsIdentity
  ports: Listening['ports']
  machines: Machines
  releases: Releases
  blobs: BlobStore
  missing: readonly Missing[]
}

/**
 * @param print lines for the person who started it: progress, addresses, what is missing.
 * @throws MusterError with one sentence for whatever keeps it from starting.
 */
export async function serve(options: {
  loaded: LoadedConfig
  log: Log
  print(line: string): void
  now?: () => Date
  random?: (bytes: number) => Uint8Array
}): Promise<Running> {
  const { log, now = () => new Date(), print, random = randomBytes } = options
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, '../package.json'), 'utf8')) as {
    version: string
  }
  const { config } = options.loaded
  const paths = pathsOf(config)
  await using stack = new AsyncDisposableStack()

  // What is on disk.
  await prepareDataFolder(paths)
  const database = stack.use(await openDatabase({ path: paths.database, log, now }))
  const blobs = await createBlobStore({
    directory: paths.blobs,
    log,
    verifyOnOpen: config.store.verifyOnOpen,
  })
  const store = await createStore({ directory: paths.store, blobs, log })
  const tls = await loadTlsIdentity(paths.keys)
  const token = await loadAdminToken({ keysDirectory: paths.keys })

  const registries = stack.use(createRegistries(options.loaded))

  // Who decides.
  const releases = stack.use(
    createReleases({
      repository: config.releases.repository,
      metadataDirectory: join(paths.tuf, config.releases.repository, 'metadata'),
      keysDirectory: join(paths.keys, config.releases.repository),
      blobs,
      store,
      periods: periodsOf('default'),
      crypto: createNodeCrypto(),
      now: () => now().getTime(),
      log,
      upstream: await readUpstream(config),
      fetch: registries.fetch,
    }),
  )
  const clusters = createClusters({ database, now })
  const machines = createMachines({
    database,
    now,
    random,
    log,
    reportSecret: createHash('sha256').update('muster report tokens\n').update(tls.key).digest(),
    enrolment: { mode: config.enrolment.mode, isDemonstration },
    hasCluster: clusters.has,
    limits: {
      undecidedMax: config.enrolment.undecidedMax,
      undecidedPerAddressMax: config.enrolment.undecidedPerAddressMax,
      newMachinesPerMinuteMax: config.boots.hellosPerMinuteMax,
      eventsPerBootMax: config.boots.eventsMax,
    },
  })
  const { created } = await releases.init({ allowNew: (await machines.list({ limit: 1 })).length === 0 })
  const planner = createPlanner({
    machines,
    releases,
    joinFiles: clusters.render,
    pin: tls.pin,
    now,
    limits: { planSeconds: config.boots.planSeconds, pollSeconds: config.agent.pollSeconds },
  })
  const ports: Ports = { firmware: 0, agent: 0, admin: 0, tftp: undefined }
  const scripts = createFirmwareScripts({
    config,
    ports: () => ports,
    facts: {
      findByMac: (mac) => machines.find(mac).catch(() => undefined),
      explain: (machine) => machines.why(machine.id),
      hasAgent: (arch) => hasAgent(paths, arch),
    },
  })

  // What the first start makes; what fails is said and does not stop the server.
  const missing = await prepareServer({ config, paths, releases, machines, pin: tls.pin, print })

  // Who listens.
  const listening: Listening = stack.use(
    await listen({
      config,
      paths,
      tls,
      log,
      machines,
      releases,
      planner,
      scripts,
      files: createBootFiles({ bootDirectory: paths.boot, operatorDirectory: config.files }),
      content: createReleaseContent({ releases, store }),
      createAdmin: () =>
        createAdminPlane({
          version,
          token,
          log,
          ...(isLoopbackHost(config.admin.host) ? {} : { tls }),
          deciders: adminDeciders({
            version,
            startedAt: now(),
            config,
            paths,
            tls,
            ports,
            machines,
            clusters,
            releases,
            blobs,
            missing,
            registries: registries.client,
          }),
        }),
      ports,
    }),
  )
  stack.use(startTimers({ config, machines, releases, blobs, log }))

  for (const line of greeting({
    config,
    paths,
    ports: listening.ports,
    newToken: token.issued,
    missing,
    firstStart: created,
  }))
    print(line)
  const started = stack.move()
  return {
    config,
    paths,
    tls,
    ports: listening.ports,
    machines,
    releases,
    blobs,
    missing,
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}

async function readUpstream(config: Config): Promise<Upstream | undefined> {
  const { upstream } = config.releases
  if (upstream === undefined) return undefined
  try {
    return { url: upstream.url.replace(/\/+$/, ''), root: await readFile(upstream.root) }
  } catch (cause) {
    throw new MusterError(
      'config-invalid',
      `releases.upstream.root: ${upstream.root} cannot be read (${(cause as Error).message}); it is upstream's root.json, fetched by a road you trust.`,
      { cause },
    )
  }
}
