/** From the plan's choice to a release that may boot here: signed for this machine, and above every floor. */
import { MusterError } from '../../errors.ts'
import type { Plan } from '../../protocol/plan.ts'
import {
  channelPath,
  checkFloor,
  checkMachine,
  defaultChannel,
  type Release,
  readChannel,
  readRelease,
} from '../../protocol/release-rules.ts'
import { parseStrictJson } from '../../tuf/strict-json.ts'
import type { Agent } from '../agent.ts'
import type { MirrorOrder } from '../mirrors.ts'
import { agentVersion } from '../version.ts'
import { fetchTarget } from './content.ts'
import type { Refreshed } from './metadata.ts'

type Source = { refreshed: Refreshed; mirrors: MirrorOrder }

/**
 * @param source `hardwareIds`: what this machine is, as its hello said
 * @throws MusterError `target-not-found`, `target-invalid`, `manifest-mismatch`, `policy-refused`, `channel-invalid`,
 * `release-below-floor`, and those of fetching the channel's document
 */
export async function chooseRelease(
  agent: Agent,
  plan: Plan,
  source: Source & { hardwareIds: readonly string[] },
): Promise<Release> {
  const target = await source.refreshed.findTarget(plan.target)
  if (target === undefined)
    throw new MusterError(
      'target-not-found',
      `The plan chooses ${plan.target}, and no signed metadata lists it: it was never published, or is withdrawn.`,
    )
  const release = readRelease(target)
  if (release.manifest.digest !== plan.manifestDigest)
    throw new MusterError(
      'manifest-mismatch',
      `The plan wants ${plan.target} with manifest ${plan.manifestDigest}, and the signed metadata lists ` +
        `${release.manifest.digest}: the mirror's metadata is not what the plan was made from.`,
    )
  checkMachine(release, { arch: agent.arch, hardwareIds: source.hardwareIds, agentVersion })
  const floors = agent.settings.config.policy.minReleaseCounters
  // An image may be called like a member of every object.
  const own = Object.hasOwn(floors, release.image) ? floors[release.image]! : 0
  // The two that are at hand go first: an old release costs no transfer.
  checkFloor(release, Math.max(own, plan.minReleaseCounter))
  checkFloor(release, await channelFloor(agent, release.image, source))
  return release
}

/** 0 where the image has no such channel: the metadata is signed, so nobody between can have hidden it. */
async function channelFloor(agent: Agent, image: string, source: Source): Promise<number> {
  const target = await source.refreshed.findTarget(channelPath(image, defaultChannel))
  if (target === undefined) return 0
  const bytes = await fetchTarget(agent, source.mirrors, target, agent.limits.channelBytes)
  return readChannel(parseDocument(bytes, target.path), target).minReleaseCounter
}

/** Strictly, as the server reads it: a floor that stands there twice must not be one number there and another here. */
function parseDocument(bytes: Uint8Array, path: string): unknown {
  try {
    return parseStrictJson(bytes, path).value
  } catch (cause) {
    throw new MusterError('channel-invalid', `${path} is signed, and is not JSON with one reading.`, {
      cause,
    })
  }
}
