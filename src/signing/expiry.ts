/**
 * How long signed metadata lives. Each role is signed again at half its life, so a server that is down for the other
 * half does no harm. `satellite` is for sites whose uplink may be away for weeks: what they serve must outlive that.
 */
import { MusterError } from '../errors.ts'

export type MetadataRole = 'root' | 'targets' | 'snapshot' | 'timestamp'

/** Life of each role's metadata, in seconds. */
export type ExpiryPeriods = Readonly<Record<MetadataRole, number>>

const daySeconds = 86_400

export const expiryProfiles = {
  default: { root: 365, targets: 180, snapshot: 7, timestamp: 1 },
  satellite: { root: 365, targets: 180, snapshot: 30, timestamp: 30 },
  airgap: { root: 730, targets: 365, snapshot: 180, timestamp: 180 },
} as const
export type ExpiryProfile = keyof typeof expiryProfiles

export function periodsOf(profile: ExpiryProfile): ExpiryPeriods {
  const days = expiryProfiles[profile]
  return {
    root: days.root * daySeconds,
    targets: days.targets * daySeconds,
    snapshot: days.snapshot * daySeconds,
    timestamp: days.timestamp * daySeconds,
  }
}

/** RFC 3339 in UTC without a fraction: the one form that every TUF client reads (python-tuf refuses milliseconds). */
export function toTimestamp(timeMs: number): string {
  if (!Number.isFinite(timeMs)) throw new MusterError('internal', `${timeMs} is not a time.`)
  return `${new Date(timeMs).toISOString().slice(0, 19)}Z`
}

export function expiresIn(nowMs: number, seconds: number): string {
  return toTimestamp(nowMs + seconds * 1000)
}
