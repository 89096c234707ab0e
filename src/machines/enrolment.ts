/**
 * Whether a machine belongs to us: one of its three facets, beside its trust and its boots.
 *
 *     from \ action     approve     quarantine     retire
 *     (nothing)         first hello: discovered
 *     discovered        approved    quarantined    retired
 *     approved          -           quarantined    retired
 *     quarantined       approved    -              retired
 *     retired           approved    refused        -
 *
 *     forget: from every state back to nothing, with its boots and events; its next hello finds it new.
 *
 * Each entry is `transition`, `-` changes nothing; `discovered` is left by a person, or by mode `auto` in admission.ts.
 */
import { MusterError } from '../errors.ts'
import type { Enrolment } from './records.ts'

export type EnrolmentMode = 'auto' | 'ask'
export type EnrolmentAction = 'approve' | 'quarantine' | 'retire'

const arrows: Record<EnrolmentAction, { from: readonly Enrolment[]; to: Enrolment }> = {
  approve: { from: ['discovered', 'approved', 'quarantined', 'retired'], to: 'approved' },
  quarantine: { from: ['discovered', 'approved', 'quarantined'], to: 'quarantined' },
  retire: { from: ['discovered', 'approved', 'quarantined', 'retired'], to: 'retired' },
}

/** The state after `action`. Saying the same again is allowed. @throws request-invalid */
export function transition(current: Enrolment, action: EnrolmentAction): Enrolment {
  const { from, to } = arrows[action]
  if (from.includes(current)) return to
  throw new MusterError(
    'request-invalid',
    `a ${current} machine cannot be changed by '${action}' (only one that is ${from.join(', ')}): approve it first`,
    { details: { expected: from, found: current } },
  )
}
