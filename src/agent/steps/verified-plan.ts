/**
 * The plan that a boot goes by: asked for, and verified with metadata that is as new as it. Its minutes bound how old a decision
 * may be that a machine starts by, so they are judged when it comes and once more when everything is here: a mirror that is slow,
 * or that only says "later", must not make a machine start what has been withdrawn meanwhile.
 */
import { MusterError } from '../../errors.ts'
import type { Plan } from '../../protocol/plan.ts'
import type { Agent } from '../agent.ts'
import type { MirrorOrder } from '../mirrors.ts'
import type { Session } from '../session.ts'
import { printable } from '../text.ts'
import { type Refreshed, refreshMetadata } from './metadata.ts'
import type { Network } from './network.ts'
import { claimedTimeMs, verifyPlan, waitForPlan } from './plan.ts'
import { chooseRelease } from './target.ts'

export type VerifiedPlan = {
  plan: Plan
  refreshed: Refreshed
  /** The newest time, in milliseconds since 1970, that there is reason to believe: signed, plus what passed since by the steady clock. */
  nowMs(): number
}

/** The server has nothing for this machine, or nothing yet and there are others to ask. */
export type NoPlan = { skip: string } | { elsewhere: string }

/** Where a plan and its metadata come from. */
export type PlanSource = {
  session: Session
  net: Network
  mirrors: MirrorOrder
  /** After so long a server that says `wait` is left for another. */
  patienceMs: number
}

/**
 * @param notBeforeMs a time that is behind us: an older plan that comes again makes nothing young
 * @throws MusterError as `waitForPlan`, `refreshMetadata` and `verifyPlan` do
 */
export async function getPlan(
  agent: Agent,
  source: PlanSource,
  notBeforeMs = Number.NEGATIVE_INFINITY,
): Promise<VerifiedPlan | NoPlan> {
  const { console, host, reporter, settings } = agent
  const { mirrors, net, patienceMs, session } = source
  const answer = await reporter.during('plan', () => waitForPlan(agent, session, net, patienceMs))
  const answeredAtMs = host.now()
  if (answer.status === 'skip') return { skip: answer.reason }
  if (answer.status === 'wait') return { elsewhere: answer.reason }

  const { envelope } = answer
  const floorMs = Date.parse(settings.config.timeFloor)
  const startMs = Math.max(floorMs, notBeforeMs, claimedTimeMs(envelope) ?? 0)
  const nowMs = () => startMs + (host.now() - answeredAtMs)
  const { refreshed, accepted: plan } = await reporter.during('metadata', async () => {
    const found = await refreshMetadata(agent, {
      mirrors,
      now: new Date(startMs),
      accept: (fresh) => verifyPlan(agent, session, { envelope, refreshed: fresh, nowMs: nowMs() }),
    })
    reporter.note({ ...found.refreshed.versions })
    return found
  })
  await console.line(`plan: ${plan.target}, issued ${plan.issuedAt}`)
  for (const sentence of plan.because) await console.line(`plan: because ${printable(sentence, 300)}`)
  const { versions } = refreshed
  await console.line(`metadata: verified, timestamp ${versions.timestamp}, targets ${versions.targets}`)
  return { plan, refreshed, nowMs }
}

/**
 * The plan to start by, once the content of `before` is here: that one while it holds, else one that is asked for again and
 * wants the very same content. Metadata, floors and policy are judged anew with it.
 *
 * @throws MusterError `plan-changed`; `plan-expired` where the new one is over before it was verified; those of `getPlan` and
 * `chooseRelease`
 */
export async function stillValid(
  agent: Agent,
  before: VerifiedPlan,
  source: PlanSource,
): Promise<VerifiedPlan | NoPlan> {
  if (!hasExpired(before)) return before
  const { console, reporter } = agent
  await console.line(`plan: it expired at ${before.plan.expires} while content was fetched; asking again`)
  const next = await getPlan(agent, source, before.nowMs())
  if (!('plan' in next)) return next
  checkUnchanged(before.plan, next.plan)
  const { hardwareIds } = source.session
  const { refreshed } = next
  await reporter.during('manifest', () =>
    chooseRelease(agent, next.plan, { refreshed, mirrors: source.mirrors, hardwareIds }),
  )
  if (!hasExpired(next)) return next
  throw new MusterError(
    'plan-expired',
    `The plan was asked for again and expired again, at ${next.plan.expires}, before its metadata was here: ` +
      'the mirrors are too slow, or something between holds them up.',
  )
}

function hasExpired({ plan, nowMs }: VerifiedPlan): boolean {
  return nowMs() >= Date.parse(plan.expires)
}

/** The files stand in front of the initrd already, so they are content like the rest. Arguments are not: the new ones are used. */
function checkUnchanged(before: Plan, next: Plan): void {
  const isSame =
    next.manifestDigest === before.manifestDigest &&
    JSON.stringify(next.files) === JSON.stringify(before.files)
  if (isSame) return
  const what = next.target === before.target ? `${next.target} with other content` : `now ${next.target}`
  throw new MusterError(
    'plan-changed',
    `While ${before.target} was fetched its plan expired, and the server's new one is ${what}: ` +
      'what was fetched is not started. The next round fetches what is chosen now.',
    { details: { expected: before.manifestDigest, found: next.manifestDigest } },
  )
}
