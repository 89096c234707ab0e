/**
 * Keeps signed metadata alive: what this server holds the keys of is signed again at half its life; for what it does not
 * hold, it warns at 1/2, 3/4 and 7/8, because a person with a key has to do something before it ends.
 */
import { MusterError } from '../errors.ts'
import { type ExpiryPeriods, expiresIn, type MetadataRole } from '../signing/expiry.ts'
import type { Keys, Signer } from '../signing/keys.ts'
import { type RootSigned, signMetadata } from '../signing/repository.ts'
import { type RepositoryTools, signOver, verifyNext } from './accept.ts'
import { signNextTargets } from './publish.ts'
import type { RepositoryState } from './repository-files.ts'

export type ExpiryWarning = {
  role: MetadataRole
  /** The share of its life that has passed: 1/2, 3/4, 7/8, or 1 when it has expired. */
  passed: 0.5 | 0.75 | 0.875 | 1
  expires: string
  /** For a person: what to do. */
  sentence: string
}

export type ResignResult = {
  resigned: MetadataRole[]
  /** When to call again, in milliseconds since 1970. */
  nextDueMs: number
  warnings: ExpiryWarning[]
}

const roles = ['root', 'targets', 'snapshot', 'timestamp'] as const

/**
 * Signs again what is due. Call it at `nextDueMs`, and at every start.
 *
 * @throws MusterError metadata-* when the state on disk does not verify even with fresh signatures
 */
export async function resignDue(tools: RepositoryTools, state: RepositoryState): Promise<ResignResult> {
  const { keys, periods, now } = tools
  const nowMs = now()
  const held = roles.filter((role) => holds(keys, state, role))
  const due = held
    .filter((role) => nowMs >= halfLifeOf(state, role, periods))
    // New targets mean a new snapshot; without its key they wait for whoever has it.
    .filter((role) => role !== 'targets' || held.includes('snapshot'))
  const warnings = roles
    .filter((role) => !held.includes(role))
    .flatMap((role) => warningFor(state, role, periods, nowMs))

  // Nothing takes effect without a new timestamp; where its key is elsewhere, that place signs.
  const resigned = due.length > 0 && held.includes('timestamp') ? await resign(tools, state, due) : []
  return { resigned, warnings, nextDueMs: nextDue(tools, state, held, resigned) }
}

async function resign(
  tools: RepositoryTools,
  state: RepositoryState,
  due: readonly MetadataRole[],
): Promise<MetadataRole[]> {
  const { files, log, repository } = tools
  const next = signOver(tools, state, {
    ...(due.includes('root') ? { root: nextRoot(tools, state) } : {}),
    ...(due.includes('targets') ? { targets: nextTargets(tools, state) } : {}),
    snapshot: due.includes('snapshot'),
  })
  try {
    const { versions } = await verifyNext(tools, state, next)
    await files.commit(next)
    const resigned = roles.filter((role) => [...next.keys()].some((name) => name.endsWith(`${role}.json`)))
    log.info({ repository, resigned, versions }, 'signed again')
    return resigned
  } catch (error) {
    // A role whose key is elsewhere has expired: fresh signatures around it change nothing, and the warning says so.
    if (!(error instanceof MusterError) || error.code !== 'metadata-expired') throw error
    log.error({ repository, due, reason: error.message }, 'not signed again')
    return []
  }
}

/** Whether this server can sign a role alone: its key is here, root names it, and one signature is enough. */
function holds(keys: Keys, state: RepositoryState, role: MetadataRole): boolean {
  const { keyids, threshold } = state.root.signed.roles[role]
  return keys[role] !== undefined && keyids.includes(keys[role].keyid) && threshold === 1
}

function halfLifeOf(state: RepositoryState, role: MetadataRole, periods: ExpiryPeriods): number {
  return Date.parse(state[role].signed.expires) - (periods[role] * 1000) / 2
}

function nextRoot({ keys, periods, now }: RepositoryTools, state: RepositoryState) {
  const version = state.root.signed.version + 1
  const signed = { ...state.root.signed, version, expires: expiresIn(now(), periods.root) }
  return { version, bytes: signMetadata(signed as unknown as RootSigned, [keys.root as Signer]) }
}

function nextTargets({ keys, periods, now }: RepositoryTools, state: RepositoryState) {
  const current = state.targets.signed
  const expires = expiresIn(now(), periods.targets)
  const bytes = signNextTargets({ current, additions: {}, expires, signers: [keys.targets as Signer] })
  return { version: current.version + 1, bytes }
}

function warningFor(
  state: RepositoryState,
  role: MetadataRole,
  periods: ExpiryPeriods,
  nowMs: number,
): ExpiryWarning[] {
  const { expires } = state[role].signed
  const share = 1 - (Date.parse(expires) - nowMs) / (periods[role] * 1000)
  const passed = ([1, 0.875, 0.75, 0.5] as const).find((step) => share >= step)
  if (passed === undefined) return []
  const when = passed === 1 ? `expired at ${expires}` : `expires at ${expires}`
  const sentence = `The ${role} metadata ${when} and its key is not here: sign it again where the key is kept${
    passed === 1 ? '; machines refuse it until then' : ''
  }.`
  return [{ role, passed, expires, sentence }]
}

function nextDue(
  { periods, now }: RepositoryTools,
  state: RepositoryState,
  held: readonly MetadataRole[],
  resigned: readonly MetadataRole[],
): number {
  const nowMs = now()
  const times = roles.flatMap((role) => {
    const lifeMs = periods[role] * 1000
    if (held.includes(role)) {
      return [resigned.includes(role) ? nowMs + lifeMs / 2 : halfLifeOf(state, role, periods)]
    }
    const expiresMs = Date.parse(state[role].signed.expires)
    return [0.5, 0.25, 0.125, 0].map((left) => expiresMs - lifeMs * left)
  })
  const coming = times.filter((time) => time > nowMs)
  // A day at the latest: clocks are corrected and machines sleep.
  return Math.min(nowMs + 86_400_000, ...coming)
}
