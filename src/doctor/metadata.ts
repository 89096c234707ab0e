/** Whether machines accept the TUF metadata now, and will for a while. */
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

const dayMs = 86_400_000
/** Short-lived roles are signed again by the server itself at half-life; long-lived ones want a person, who wants a warning. */
const soonMs: Readonly<Record<string, number>> = {
  timestamp: dayMs / 8,
  snapshot: dayMs,
  targets: 14 * dayMs,
  root: 30 * dayMs,
}

type Role = NonNullable<Facts['roles']>[number]

export function judgeMetadata(
  { roles, syncFailures }: Pick<Facts, 'roles' | 'syncFailures'>,
  nowMs: number,
): Verdict {
  if (roles === undefined) return unknown('no server runs that could say until when its metadata is valid')
  const failed = syncFailures.map(
    ({ repository, upstream, reason }) => `${repository} does not follow ${upstream}: ${reason}`,
  )
  if (failed.length > 0)
    return trouble(
      failed.join('; '),
      'mend what it names; after a change of releases.upstream start the server again, otherwise it tries again by itself (releases.pollSeconds)',
    )
  if (roles.length === 0) return unknown('no repository has metadata yet')
  const left = ({ expires }: Role) => Date.parse(expires) - nowMs
  const say = (one: Role) => `${one.repository}'s ${one.role} (${one.expires})`
  const expired = roles.filter((one) => left(one) <= 0)
  if (expired.length > 0)
    return trouble(
      `expired, so no machine boots: ${expired.map(say).join(', ')}`,
      "see who has the keys ('muster tuf status'): the server signs again what it has the key of, as soon as its clock is right; for the rest sign and publish again",
    )
  const soon = roles.filter((one) => left(one) < (soonMs[one.role] ?? dayMs))
  if (soon.length > 0)
    return trouble(
      `expires soon: ${soon.map(say).join(', ')}`,
      "bring the key and sign again before that day ('muster tuf status' says which keys are here)",
    )
  return ok(
    `all ${roles.length} roles are valid, the shortest until ${roles.map(({ expires }) => expires).sort()[0]}`,
  )
}
