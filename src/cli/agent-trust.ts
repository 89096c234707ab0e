/**
 * What an agent that is built here will believe: its root.json, the key of its server, and how old targets may be. What is not given
 * comes from the data folder of this server; what cannot be right is refused here, and not on a machine at a rack.
 */
import { join, resolve } from 'node:path'
import type { Config } from '../config/schema.ts'
import { MusterError } from '../errors.ts'
import { readAgentPlanePin } from '../http/public-key-pin.ts'
import type { AgentPolicy } from '../protocol/agent-config.ts'
import type { AgentOrigin } from '../protocol/identifiers.ts'
import { checkTrustedRoot, type KeptRepository, readKeptRepository } from '../releases/trusted-root.ts'
import { systemReason } from '../system-error.ts'
import type { World } from './context.ts'
import { readGiven } from './given-file.ts'

export type AgentTrust = {
  /** Where the root came from. */
  rootFile: string
  rootVersion: number
  trustedRoot: Uint8Array
  /** Of the servers that it may ask. */
  pins: readonly string[]
  minTargetsVersion?: number
  /** Sentences for whoever builds it: what was taken from the data folder, and what is missing. */
  notes: string[]
}

type TrustOptions = {
  config: Pick<Config, 'agent' | 'data' | 'releases'>
  root: string | undefined
  pins: readonly string[] | undefined
  origin: AgentOrigin
  policy: Partial<AgentPolicy>
  world: Pick<World, 'crypto' | 'now'>
  /** Says what is missing on the command line, with the exit code of wrong usage. */
  wrongUsage(sentence: string): never
}

/** @throws MusterError agent-config-invalid */
export async function agentTrust(options: TrustOptions): Promise<AgentTrust> {
  const { config, origin, policy, world, wrongUsage } = options
  const { repository } = config.releases
  const data = resolve(config.data)
  const notes: string[] = []
  const peers = Object.values(config.agent.peers).map((peer) => peer.pin)
  const own = options.pins ?? pinOfDataFolder(data, notes)
  if (own === undefined)
    return wrongUsage(
      `error: --pin is not given, and the data folder ${data} has no key of an agent plane: the agent would know no server. ` +
        "'muster status' on the server prints the pin; --data names the data folder of a server on this machine",
    )
  const metadataDirectory = join(data, 'tuf', repository, 'metadata')
  const nowMs = world.now()
  const { crypto } = world
  const kept = await keptRepository({ repository, metadataDirectory, nowMs, crypto }, options.root, notes)
  const rootFile = options.root ?? (kept && join(metadataDirectory, kept.rootName))
  if (rootFile === undefined)
    return wrongUsage(
      `error: --root is not given, and there is no repository in ${metadataDirectory}: the agent would trust nobody. ` +
        'It is the newest <N>.root.json in that folder of the server; bring it by a road you trust, ' +
        'or name the data folder of a server on this machine with --data',
    )
  const trustedRoot = readRoot(rootFile)
  const { version: rootVersion } = checkRoot(trustedRoot, rootFile, metadataDirectory, {
    ...{ repository, nowMs, crypto },
  })
  if (options.root === undefined) notes.push(`note: it trusts root version ${rootVersion}, ${rootFile}.`)
  const isOwn = kept?.roots.some((bytes) => Buffer.compare(bytes, trustedRoot) === 0) === true
  const floor = targetsFloor({ origin, policy, current: isOwn ? kept?.targetsVersion : undefined }, notes)
  return {
    ...{ rootFile, rootVersion, trustedRoot, pins: [...new Set([...own, ...peers])], notes },
    ...(floor === undefined ? {} : { minTargetsVersion: floor }),
  }
}

function pinOfDataFolder(data: string, notes: string[]): readonly string[] | undefined {
  let pin: string | undefined
  try {
    pin = readAgentPlanePin(join(data, 'keys'))
  } catch (cause) {
    throw invalid(
      `The key of the agent plane in ${join(data, 'keys')} cannot be read: ${systemReason(cause)}. ` +
        "Run this as the user of the server, or give --pin: 'muster status' prints it.",
      cause,
    )
  }
  if (pin === undefined) return undefined
  notes.push(`note: it knows the server by ${pin}, the key in ${join(data, 'keys')}.`)
  return [pin]
}

/** A data folder that is damaged keeps nobody from building with a root that was given: then it only vouches for nothing. */
async function keptRepository(
  options: Parameters<typeof readKeptRepository>[0],
  root: string | undefined,
  notes: string[],
): Promise<KeptRepository | undefined> {
  try {
    return await readKeptRepository(options)
  } catch (cause) {
    const sentence = `The repository in ${options.metadataDirectory} cannot be used: ${(cause as Error).message}`
    if (root === undefined)
      throw invalid(`${sentence} Mend it, or name another root.json with --root.`, cause)
    notes.push(`note: ${sentence}`)
    return undefined
  }
}

function readRoot(file: string): Uint8Array {
  return readGiven(file, {
    by: '--root',
    what: 'The root.json',
    code: 'agent-config-invalid',
    wayOut:
      "Name the repository's with --root, or leave it out where the data folder of the server is (--data).",
  })
}

function checkRoot(
  bytes: Uint8Array,
  file: string,
  metadataDirectory: string,
  options: Parameters<typeof checkTrustedRoot>[1],
): { version: number } {
  try {
    return checkTrustedRoot(bytes, options)
  } catch (cause) {
    throw invalid(
      `${file} is no root.json that an agent could trust: ${(cause as Error).message} ` +
        `Take <N>.root.json as it lies on the server (here that would be ${metadataDirectory}), unchanged.`,
      cause,
    )
  }
}

/**
 * The floor of targets for an agent that outlives its server's honesty: whoever has the online keys says what time it is, so that
 * expiry bounds nothing, and signs old targets in again (docs/threat-model.md). One that comes over the network unsigned is
 * replaced with the server, and a floor in it would bind nobody.
 */
function targetsFloor(
  options: Pick<TrustOptions, 'origin' | 'policy'> & { current: number | undefined },
  notes: string[],
): number | undefined {
  const { origin, policy, current } = options
  const given = policy.minTargetsVersion
  if (origin === 'network') return given
  if (given !== undefined) {
    if (current !== undefined && given > current)
      notes.push(
        `warning: the policy's minTargetsVersion is ${given}, and this server's targets have version ${current}: the agent boots nothing until version ${given} is published.`,
      )
    return given
  }
  if (current !== undefined) {
    notes.push(
      `note: minTargetsVersion is ${current}, this server's targets of now: the agent believes no older ones. Build it again after a release that must not be taken back.`,
    )
    return current
  }
  notes.push(
    'warning: this agent has no minTargetsVersion. A server that was taken over says what time it is, so targets of the past do not expire ' +
      "for this agent, and their releases boot. Write minTargetsVersion: <version> into the file of --policy; 'muster tuf status' on the server " +
      'shows the version of targets (docs/agent-policy.md, docs/threat-model.md).',
  )
  return undefined
}

function invalid(sentence: string, cause: unknown): MusterError {
  return new MusterError('agent-config-invalid', sentence, { cause })
}
