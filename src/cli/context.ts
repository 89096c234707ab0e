/** What every command gets: the configuration, the way to the server, and where to print. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Progress } from '../builder/download.ts'
import { type LoadedConfig, loadConfig, type NamedFlag } from '../config/load.ts'
import { MusterError } from '../errors.ts'
import { adminSocketName } from '../http/admin-socket.ts'
import type { Log } from '../log.ts'
import type { RegistryClient } from '../oci/registry.ts'
import type { AgentConfig, AgentPolicy } from '../protocol/agent-config.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { PublishThere } from '../releases/publish-there.ts'
import type { ExpiryPeriods } from '../signing/expiry.ts'
import { type ApiClient, type ApiTarget, createApiClient } from './api-client.ts'
import type { Output } from './output.ts'

/** Everything of the process that commands may touch; main.ts gives the real one, tests another. */
export type World = {
  env: Readonly<Record<string, string | undefined>>
  stdout(text: string): void
  stderr(text: string): void
  /** Whether a person watches standard error: progress is shown then. */
  isTerminal: boolean
  /** Folder of package.json, docs/ and images/. */
  packageRoot: string
  now(): number
  /** Aborted by Ctrl-C and SIGTERM. */
  signal: AbortSignal
  /** Runs the server until `signal`. */
  serve(options: { loaded: LoadedConfig; print(line: string): void; signal: AbortSignal }): Promise<void>
  log(settings: LoadedConfig['config']['log']): Log
  crypto: PublishThere['crypto']
  /** Registries as this person reaches them: the settings' hosts and credentials, else those of docker's config.json. */
  registry(loaded: LoadedConfig): RegistryClient
  /** @throws MusterError repository-exists */
  makeRepository(options: {
    keysDirectory: string
    metadataDirectory: string
    periods: ExpiryPeriods
  }): Promise<void>
  agentConfig(options: AgentIdentity): AgentConfig
  /** The agent as one module for QuickJS. @throws MusterError build-failed */
  agentBundle(): Promise<Uint8Array>
  progressLines(print: (line: string) => void): Progress
}

/** What an agent's configuration says beside the default policy. */
export type AgentIdentity = {
  repository: string
  pins: readonly string[]
  arch: Arch
  timeFloor: string
  origin: AgentConfig['origin']
  servers: string[]
  policy: Partial<AgentPolicy>
}

export type Context = {
  world: World
  output(): Output
  /** @throws MusterError config-invalid */
  loaded(): LoadedConfig
  api(): ApiClient
}

export type GlobalOptions = {
  data?: string
  config?: string
  set?: Record<string, string>
  logLevel?: string
  url?: string
  token?: string
  pin?: readonly string[]
  json?: boolean
  files?: string
  mirror?: string
  advertise?: string
}

export function createContext(program: Command, world: World): Context {
  let loaded: LoadedConfig | undefined
  const options = () => program.opts<GlobalOptions>()
  return {
    world,
    output: () => ({ json: options().json === true, write: world.stdout, note: world.stderr }),
    loaded() {
      loaded ??= loadConfig({
        file: options().config,
        env: world.env,
        named: namedFlags(options()),
        flags: options().set ?? {},
      })
      return loaded
    },
    api() {
      return createApiClient(targetOf(options(), world, () => this.loaded().config.data))
    },
  }
}

function namedFlags({ advertise, data, files, logLevel, mirror }: GlobalOptions): NamedFlag[] {
  const named: [flag: string, key: string, value: string | undefined][] = [
    ['--data', 'data', data],
    ['--files', 'files', files],
    ['--mirror', 'mirror', mirror],
    ['--advertise', 'advertise', advertise],
    ['--log-level', 'log.level', logLevel],
  ]
  return named.flatMap(([flag, key, value]) => (value === undefined ? [] : [{ flag, key, value }]))
}

function targetOf(options: GlobalOptions, world: World, data: () => string): ApiTarget {
  if (options.url === undefined) return { kind: 'socket', path: resolve(data(), adminSocketName) }
  let url: URL
  try {
    url = new URL(options.url)
  } catch (cause) {
    throw new MusterError(
      'config-invalid',
      `--url must look like https://server:9443, not '${options.url}'.`,
      {
        cause,
      },
    )
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new MusterError(
      'config-invalid',
      `--url must begin with https:// or http://, not '${url.protocol}'.`,
    )
  const token = options.token ?? world.env['MUSTER_TOKEN']
  if (token !== undefined && url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw new MusterError(
      'config-invalid',
      `The token would travel to ${url.host} in the clear. Use https:// with --pin, or an SSH tunnel to the server's loopback.`,
    )
  }
  return { kind: 'url', url, token, pins: options.pin }
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}
