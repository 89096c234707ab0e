/** Asks for the plan until there is one, and checks everything that a plan must be. */
import { fromBase64 } from '../../crypto/encoding.ts'
import { MusterError } from '../../errors.ts'
import type { Envelope } from '../../protocol/envelope.ts'
import { type Plan, planPayloadType, planReply, planRole, plan as planSchema } from '../../protocol/plan.ts'
import { matchesPathPattern } from '../../tuf/path-pattern.ts'
import { decodeUtf8 } from '../../wire/utf8.ts'
import type { Agent } from '../agent.ts'
import { checkArguments } from '../arguments.ts'
import { checkFiles } from '../cpio.ts'
import type { Session } from '../session.ts'
import { printable } from '../text.ts'
import type { Refreshed } from './metadata.ts'
import type { Network } from './network.ts'

export type PlanAnswer =
  | { status: 'boot'; envelope: Envelope }
  | { status: 'skip'; reason: string }
  | { status: 'wait'; reason: string }

/**
 * @param patienceMs after so long a `wait` is the answer
 * @throws MusterError `server-unreachable`, `server-pin`, `server-refused`
 */
export async function waitForPlan(
  agent: Agent,
  session: Session,
  network: Network,
  patienceMs: number,
): Promise<PlanAnswer> {
  const { host, limits, reporter, console } = agent
  const startedMs = host.now()
  let said: string | undefined
  for (;;) {
    const reply = planReply.safeParse(await session.post('plan', {}))
    if (!reply.success)
      throw new MusterError(
        'server-refused',
        `${session.server} answers the request for a plan with something this agent does not read: ` +
          `${reply.error.issues[0]?.path.join('.')} ${reply.error.issues[0]?.message}.`,
      )
    const answer = reply.data
    if (answer.status !== 'wait') {
      if (said !== undefined) reporter.add({ step: 'approval', status: 'done' })
      return answer
    }
    if (said === undefined) reporter.add({ step: 'approval', status: 'started' })
    const reason = printable(answer.reason, 300)
    if (reason !== said) {
      await console.line(`approval: waiting: ${reason}`)
      await reporter.flush()
    }
    said = reason
    if (host.now() - startedMs >= patienceMs) return { status: 'wait', reason }
    const seconds = Math.min(Math.max(answer.retrySeconds, limits.pollLeastSeconds), limits.pollMostSeconds)
    await host.sleep(seconds * 1000)
    await network.renewIfDue()
  }
}

/**
 * The time that a plan claims, in milliseconds, before anything of it was verified; undefined where it claims none.
 * It decides how fresh metadata must be, and is confirmed when the plan's own signature verifies.
 */
export function claimedTimeMs(envelope: Envelope): number | undefined {
  try {
    const payload: unknown = JSON.parse(decodeUtf8(fromBase64(envelope.payload)))
    const issuedAt = planSchema.shape.issuedAt.safeParse((payload as { issuedAt?: unknown }).issuedAt)
    const timeMs = issuedAt.success ? Date.parse(issuedAt.data) : Number.NaN
    return Number.isNaN(timeMs) ? undefined : timeMs
  } catch {
    return undefined
  }
}

/**
 * Each check with its own code, in the order in which a later one could be fooled without the earlier.
 * @param nowMs the reference time, plus what has passed since the plan came
 * @throws MusterError `plan-signature`, `plan-invalid`, `plan-machine`, `plan-nonce`, `plan-expired`,
 * `metadata-rollback`, `policy-refused`, `argument-refused`, `file-refused`
 */
export function verifyPlan(
  agent: Pick<Agent, 'settings'>,
  session: Pick<Session, 'reply' | 'nonce' | 'helloSha256'>,
  signed: { envelope: Envelope; refreshed: Refreshed; nowMs: number },
): Plan {
  const payload = signed.refreshed.verifyEnvelope(planRole, signed.envelope)
  const plan = parsePlan(signed.envelope.payloadType, payload)
  checkAddressee(plan, session)
  checkTime(plan, signed)
  checkTargetsVersion(signed.refreshed, agent)
  checkPolicy(plan, agent)
  return plan
}

function parsePlan(payloadType: string, payload: Uint8Array): Plan {
  if (payloadType !== planPayloadType)
    throw invalid(`it is of type "${printable(payloadType, 100)}", expected ${planPayloadType}`)
  let json: unknown
  try {
    json = JSON.parse(decodeUtf8(payload))
  } catch (cause) {
    throw invalid('it is not JSON in UTF-8', cause)
  }
  const parsed = planSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw invalid(`${issue?.path.join('.')}: ${issue?.message}`)
}

function checkAddressee(plan: Plan, session: Pick<Session, 'reply' | 'nonce' | 'helloSha256'>): void {
  const { machine, boot } = session.reply
  if (plan.machine !== machine)
    throw new MusterError(
      'plan-machine',
      `The plan is for the machine ${plan.machine}, and this one is ${machine}.`,
    )
  if (plan.nonce !== session.nonce || plan.boot !== boot)
    throw new MusterError(
      'plan-nonce',
      `The plan answers another hello: it is for ${plan.boot} with nonce ${plan.nonce.slice(0, 16)}…, ` +
        `and this is ${boot} with nonce ${session.nonce.slice(0, 16)}….`,
    )
  if (plan.hello !== session.helloSha256)
    throw new MusterError(
      'plan-nonce',
      `The plan answers a hello of sha256 ${plan.hello.slice(0, 16)}…, and this agent sent ` +
        `${session.helloSha256.slice(0, 16)}…: something between changed it.`,
    )
}

function checkTime(plan: Plan, signed: { refreshed: Refreshed; nowMs: number }): void {
  const { refreshed, nowMs } = signed
  const [issuedAtMs, expiresMs] = [Date.parse(plan.issuedAt), Date.parse(plan.expires)]
  if (Number.isNaN(issuedAtMs) || Number.isNaN(expiresMs) || expiresMs <= issuedAtMs)
    throw invalid(`issued at ${plan.issuedAt} and expiring at ${plan.expires} it is never valid`)
  if (nowMs >= expiresMs)
    throw new MusterError(
      'plan-expired',
      `The plan expired at ${plan.expires}; by the newest time this agent has reason to believe it is ` +
        `${new Date(nowMs).toISOString()}. Check the server's clock.`,
    )
  const found = refreshed.versions.timestamp
  if (found < plan.minTimestampVersion)
    throw new MusterError(
      'metadata-rollback',
      `The mirror's timestamp.json has version ${found}, and the plan asks for ${plan.minTimestampVersion} or newer: ` +
        'the mirror is behind, or replays what was valid once.',
      { details: { expected: plan.minTimestampVersion, found } },
    )
}

function checkTargetsVersion({ versions }: Refreshed, { settings }: Pick<Agent, 'settings'>): void {
  const least = settings.config.policy.minTargetsVersion ?? 0
  if (versions.targets >= least) return
  throw new MusterError(
    'metadata-rollback',
    `The mirror's targets.json has version ${versions.targets}, and this agent was built for ${least} or newer: ` +
      'somebody who may sign snapshots shows releases, and floors, of the past.',
    { details: { expected: least, found: versions.targets } },
  )
}

function checkPolicy(plan: Plan, agent: Pick<Agent, 'settings'>): void {
  const { config } = agent.settings
  if (plan.repository !== config.repository)
    throw new MusterError(
      'policy-refused',
      `The plan names the repository "${plan.repository}", and this agent trusts "${config.repository}" only.`,
    )
  const { targets, arguments: allowed } = config.policy
  if (!targets.some((pattern) => matchesPathPattern(plan.target, pattern)))
    throw new MusterError(
      'policy-refused',
      `The plan chooses ${plan.target}, and this agent's policy allows ${targets.join(', ') || 'nothing'} only.`,
    )
  checkArguments(plan.arguments, allowed)
  checkFiles(plan.files)
}

function invalid(reason: string, cause?: unknown): MusterError {
  return new MusterError('plan-invalid', `The plan cannot be used: ${reason}.`, { cause })
}
