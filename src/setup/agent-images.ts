/**
 * What firmware loads: agents and boot loaders in data/boot. A stamp beside them says what they were made from, so a second
 * start makes nothing, and a new root, a new key of the agent plane or newer packages make them again. It goes before they
 * are touched and comes last: files that a killed start left half replaced are made again.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reachableHost } from '../boot/urls.ts'
import { buildAgent, readImagesLock } from '../builder/agent-image.ts'
import { readAgentPolicy } from '../builder/agent-policy.ts'
import type { DownloadOptions, Progress } from '../builder/download.ts'
import { fetchLoaders } from '../builder/loaders.ts'
import type { Lock } from '../builder/lock.ts'
import { fetchRaspberryPiFirmware } from '../builder/raspberry-pi.ts'
import { agentArgumentsOf } from '../config/agent-arguments.ts'
import type { Config } from '../config/schema.ts'
import { type AgentConfig, type AgentPolicy, defaultArgumentPolicy } from '../protocol/agent-config.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { agentBundle } from './agent-bundle.ts'
import { agentFolder, noteHardware } from './made-agents.ts'
import { ownHosts } from './own-hosts.ts'
import type { Paths } from './paths.ts'

/** The configuration of an agent that comes over the network: it learns the server's address from the kernel command line. */
export function agentConfigFor(options: {
  repository: string
  /** Keys of the agent planes that it may ask. */
  pins: readonly string[]
  arch: Arch
  timeFloor: string
  origin?: AgentConfig['origin']
  servers?: string[]
  serverPort?: number
  /** What differs from the policy below. */
  policy?: Partial<AgentPolicy>
}): AgentConfig {
  return {
    apiVersion: 'muster/v1',
    origin: options.origin ?? 'network',
    servers: options.servers ?? [],
    ...(options.serverPort === undefined ? {} : { serverPort: options.serverPort }),
    pins: [...options.pins],
    repository: options.repository,
    mirrors: [],
    timeFloor: options.timeFloor,
    policy: {
      targets: [`*/*/${options.arch}`],
      hardwareIds: [],
      arguments: [...defaultArgumentPolicy],
      minReleaseCounters: {},
      staleSeconds: 0,
      onFailure: { attempts: 20, fallback: 'wait' },
      maxImageBytes: 0,
      ...options.policy,
    },
  }
}

/** @throws MusterError package-missing, download-failed, build-failed, agent-config-invalid */
export async function makeAgents(options: {
  config: Config
  paths: Paths
  pin: string
  trustedRoot: Uint8Array
  mirrors: readonly string[]
  signal: AbortSignal
  progress: Progress
  /** Called before an agent is made; not for one that is up to date. */
  onMake(arch: Arch): void
}): Promise<void> {
  const { config, paths, pin, trustedRoot } = options
  const bundle = await agentBundle()
  const policy = config.agentPolicy === undefined ? {} : await readAgentPolicy(config.agentPolicy)
  const lock = await readImagesLock()
  for (const arch of config.image.architectures) {
    const outDir = agentFolder(paths, arch)
    const settings = Buffer.from(
      JSON.stringify(
        agentConfigFor({
          repository: config.releases.repository,
          pins: [pin, ...Object.values(config.agent.peers).map((peer) => peer.pin)],
          arch,
          timeFloor: lock.date,
          policy,
          // 0 is a port that is chosen at each start, which no agent could know.
          ...(config.agent.port === 0 ? {} : { serverPort: config.agent.port }),
        }),
        null,
        2,
      ),
    )
    const commandLine = unifiedArguments(config, arch)
    const { hardware } = config.image
    const stamp = stampOf(bundle, settings, trustedRoot, hardware, lock.date, commandLine)
    if ((await readStamp(outDir)) === stamp) {
      // One of a release that wrote nothing beside it.
      await noteHardware(outDir, hardware)
      continue
    }
    options.onMake(arch)
    await removeStamp(outDir)
    await buildAgent({
      lock,
      arch,
      hardware,
      mirrors: options.mirrors,
      cacheDir: paths.cache,
      outDir,
      config: settings,
      trustedRoot,
      commandLine,
      agentBundle: bundle,
      progress: options.progress,
      signal: options.signal,
    })
    await noteHardware(outDir, hardware)
    await writeFile(join(outDir, 'made-from'), stamp)
  }
}

/**
 * Of an agent that firmware starts itself: no script passes it the server's address, so it has with it the advertised one, else all
 * that this machine has now, and its peers'. A wrong one costs time and nothing else.
 */
function unifiedArguments(config: Config, arch: Arch): string {
  const { agent } = config
  const urls = ownHosts(config).map(
    (host) => `https://${reachableHost({ advertise: host, serverAddress: '' })}:${agent.port}`,
  )
  const own = agent.port === 0 ? [] : urls
  const servers = [...own, ...Object.keys(agent.peers)]
  const server = servers.length === 0 ? [] : [`muster.server=${servers.join(',')}`]
  return [...agentArgumentsOf(config, arch), ...server].join(' ')
}

type FromPackages = {
  paths: Paths
  mirrors: readonly string[]
  signal: AbortSignal
  progress: Progress
  /** Called before they are fetched; not when they are up to date. */
  onMake(): void
}

/** @throws MusterError package-missing, download-failed, build-failed */
export function makeLoaders(options: FromPackages): Promise<void> {
  return makeFromPackages('loaders', fetchLoaders, options)
}

/** @throws MusterError package-missing, download-failed, build-failed */
export function makeRaspberryPiFirmware(options: FromPackages): Promise<void> {
  return makeFromPackages('raspberry-pi', fetchRaspberryPiFirmware, options)
}

/** What there is of a thing before it is prepared; `older` may be up to date as well. */
export type There = 'nothing' | 'older' | 'current'

export function loadersThere(paths: Paths): Promise<There> {
  return packagesThere('loaders', paths)
}

export function raspberryPiFirmwareThere(paths: Paths): Promise<There> {
  return packagesThere('raspberry-pi', paths)
}

/** @throws MusterError build-failed */
async function packagesThere(folder: string, { boot }: Paths): Promise<There> {
  const outDir = join(boot, folder)
  if ((await readStamp(outDir)) === (await readImagesLock()).date) return 'current'
  const files = await readdir(outDir).catch(() => [])
  return files.length === 0 ? 'nothing' : 'older'
}

async function makeFromPackages(
  folder: string,
  fetchFiles: (options: DownloadOptions & { outDir: string; lock: Lock }) => Promise<unknown>,
  options: FromPackages,
): Promise<void> {
  const outDir = join(options.paths.boot, folder)
  const lock = await readImagesLock()
  if ((await readStamp(outDir)) === lock.date) return
  options.onMake()
  await removeStamp(outDir)
  await fetchFiles({
    lock,
    mirrors: options.mirrors,
    cacheDir: options.paths.cache,
    outDir,
    progress: options.progress,
    signal: options.signal,
  })
  await writeFile(join(outDir, 'made-from'), lock.date)
}

function stampOf(...parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(createHash('sha256').update(part).digest())
  return hash.digest('hex')
}

async function readStamp(folder: string): Promise<string | undefined> {
  try {
    return await readFile(join(folder, 'made-from'), 'utf8')
  } catch {
    return undefined
  }
}

function removeStamp(folder: string): Promise<void> {
  return rm(join(folder, 'made-from'), { force: true })
}
