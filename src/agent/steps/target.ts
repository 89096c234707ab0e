/** From the plan's choice to a release that may boot here: signed for this machine, and above every floor. */
import { MusterError } from '../../errors.ts'
import type { Mirror } from '../../protocol/hello.ts'
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
import { decodeUtf8 } from '../../wire/utf8.ts'
import type { Agent } from '../agent.ts'
import { agentVersion } from '../version.ts'
import { fetchTarget } from './content.ts'
import type { Refreshed } from './metadata.ts'

type Source = { refreshed: Refreshed; mirrors: readonly Mirror[] }

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
  const own = agent.settings.config.policy.minReleaseCounters[release.image] ?? 0
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
  let document: unknown
  try {
    document = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw new MusterError('channel-invalid', `${target.path} is signed, and is not JSON in UTF-8.`, { cause })
  }
  return readChannel(document, target).minReleaseCounter
}
