/** What the agent was built with, and what its boot loader told it. */

import { MusterError } from '../errors.ts'
import { type AgentConfig, agentConfig, agentPlaneUrl } from '../protocol/agent-config.ts'
import { decodeUtf8 } from '../wire/utf8.ts'
import type { Host } from './host.ts'
import { asciiText } from './text.ts'

export type Settings = {
  config: AgentConfig
  /** /etc/muster/root.json, the trusted TUF root, as it is. */
  trustedRoot: Uint8Array
  /** Agent-plane URLs in order, without a closing slash; hosts that DHCP names come after them (servers.ts). */
  servers: readonly string[]
  boot: KernelArguments
}

/**
 * The agent's own kernel arguments. Attacker-controlled where it came over the network: they choose where to ask, never
 * whom to believe.
 */
export type KernelArguments = {
  /** MAC of the interface that booted. */
  bootMac?: string
  servers: readonly string[]
  /** `muster.ip=<address>/<prefix>[,<gateway>[,<name server>]]` */
  address?: string
  /** `muster.vlan=<1-4094>` */
  vlan?: string
}

/** @throws MusterError `agent-config-invalid` naming the file or argument. */
export async function readSettings(host: Host, folders: { etc: string; proc: string }): Promise<Settings> {
  const configPath = `${folders.etc}/config.json`
  const rootPath = `${folders.etc}/root.json`
  const trustedRoot = await host.readFile(rootPath, 512_000)
  if (trustedRoot === undefined) throw invalid(`${rootPath} is missing: build the agent again with --root.`)
  const config = await readConfig(host, configPath)
  const commandLine = await host.readFile(`${folders.proc}/cmdline`, 8192)
  const boot = parseKernelArguments(asciiText(commandLine))
  const servers = config.servers.length > 0 ? config.servers : boot.servers
  if (servers.length === 0 && config.serverPort === undefined)
    throw invalid(`${configPath} names no server and the kernel command line has no muster.server=https://….`)
  for (const server of servers)
    if (!agentPlaneUrl.safeParse(server).success)
      throw invalid(`The server "${server}" is not of the form https://host:port.`)
  if (config.pins.length === 0)
    throw invalid(
      `${configPath} pins no key: without one the agent cannot know its server. Build it with --pin.`,
    )
  return { config, trustedRoot, boot, servers: servers.map((server) => server.replace(/\/+$/, '')) }
}

async function readConfig(host: Host, path: string): Promise<AgentConfig> {
  const bytes = await host.readFile(path, 1_000_000)
  if (bytes === undefined) throw invalid(`${path} is missing: build the agent again.`)
  const parsed = agentConfig.safeParse(parseJson(bytes, (cause) => invalid(`${path} is not JSON.`, cause)))
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw invalid(`${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not understood'}.`)
}

/** JSON of any origin; `toError` makes the error of text that is none. */
export function parseJson(bytes: Uint8Array, toError: (cause: unknown) => MusterError): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw toError(cause)
  }
}

/** The last of several wins, as in the kernel. BOOTIF is `01-aa-bb-cc-dd-ee-ff` (pxelinux), or a plain MAC (iPXE). */
export function parseKernelArguments(commandLine: string): KernelArguments {
  const values = new Map<string, string>()
  for (const token of commandLine.trim().split(/\s+/)) {
    const split = token.indexOf('=')
    if (split > 0) values.set(token.slice(0, split), token.slice(split + 1))
  }
  const octets = values.get('BOOTIF')?.toLowerCase().replaceAll('-', ':')
  const bootMac = /^(?:01:)?((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$/.exec(octets ?? '')?.[1]
  const address = values.get('muster.ip')
  const vlan = values.get('muster.vlan')
  return {
    servers: (values.get('muster.server') ?? '').split(',').filter((server) => server !== ''),
    ...(bootMac === undefined ? {} : { bootMac }),
    ...(address === undefined ? {} : { address }),
    ...(vlan === undefined ? {} : { vlan }),
  }
}

function invalid(sentence: string, cause?: unknown): MusterError {
  return new MusterError('agent-config-invalid', sentence, { cause })
}
