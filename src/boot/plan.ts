/**
 * The plan of one boot: facts in, the signed answer out. Nothing here looks anything up; boot/decide.ts does. A plan is
 * computed for each boot and never written by hand, and it carries the sentences that explain it.
 */
import { MusterError } from '../errors.ts'
import type { Envelope } from '../protocol/envelope.ts'
import {
  type Plan,
  type PlanFile,
  planLimits,
  planPayloadType,
  plan as planSchema,
} from '../protocol/plan.ts'
import { signEnvelope } from '../signing/dsse.ts'
import type { Signer } from '../signing/keys.ts'

export type PlanFacts = {
  machine: string
  /** The session it answers: nonce and sha256 of the exact hello bytes, both hexadecimal. */
  boot: { id: string; nonce: string; helloDigest: string }
  repository: string
  /** Version of the timestamp.json that is served now: nothing older may be believed. */
  timestampVersion: number
  target: { path: string; sha256: string }
  minReleaseCounter: number
  arguments: readonly string[]
  files: readonly PlanFile[]
  because: readonly string[]
  now: Date
  validSeconds: number
}

/** @throws MusterError plan-invalid when a limit of protocol/plan.ts is passed, naming it. */
export function composePlan(facts: PlanFacts): Plan {
  const { boot, now, target } = facts
  const plan: Plan = {
    version: 1,
    machine: facts.machine,
    boot: boot.id,
    nonce: boot.nonce,
    hello: boot.helloDigest,
    issuedAt: toTimestamp(now),
    expires: toTimestamp(new Date(now.getTime() + facts.validSeconds * 1000)),
    repository: facts.repository,
    minTimestampVersion: facts.timestampVersion,
    target: target.path,
    manifestDigest: `sha256:${target.sha256}`,
    minReleaseCounter: facts.minReleaseCounter,
    mode: 'ram',
    arguments: [...facts.arguments],
    files: [...facts.files],
    because: facts.because.map((sentence) => sentence.slice(0, 512)).slice(0, 16),
  }
  const large = plan.files.find((file) => Buffer.byteLength(file.bytes, 'base64') > planLimits.fileBytes)
  if (large !== undefined) {
    throw new MusterError(
      'plan-invalid',
      `The file ${large.name} of the plan for ${facts.machine} has more than ${planLimits.fileBytes} bytes; make the cluster's template smaller.`,
    )
  }
  const checked = planSchema.safeParse(plan)
  if (!checked.success) {
    const issue = checked.error.issues[0]
    throw new MusterError(
      'plan-invalid',
      `The plan for ${facts.machine} passes a limit at '${issue?.path.join('.')}': ${issue?.message}.`,
    )
  }
  return plan
}

export function signPlan(plan: Plan, signer: Signer): Envelope {
  return signEnvelope({
    payloadType: planPayloadType,
    payload: Buffer.from(JSON.stringify(plan)),
    signers: [signer],
  })
}

/** RFC 3339 in UTC without a fraction, as TUF writes times. */
export function toTimestamp(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z')
}
