/** Codes by which an agent says that it would not accept what it was given; every other one says that something did not work. */
import type { ErrorCode } from '../errors.ts'

const refusals: ReadonlySet<string> = new Set<ErrorCode>([
  'metadata-invalid',
  'metadata-signature',
  'metadata-expired',
  'metadata-rollback',
  'metadata-mismatch',
  'metadata-too-large',
  'target-not-found',
  'target-invalid',
  'release-below-floor',
  'channel-invalid',
  'not-verified',
  'plan-invalid',
  'plan-signature',
  'plan-nonce',
  'plan-machine',
  'plan-expired',
  'argument-refused',
  'file-refused',
  'policy-refused',
  'manifest-invalid',
  'manifest-too-large',
  'manifest-mismatch',
  'blob-digest',
  'blob-too-long',
  'blob-truncated',
  'server-pin',
])

/** `code` may be attacker-controlled: what nobody of us throws is no refusal. */
export function isRefusal(code: string | undefined): boolean {
  return code !== undefined && refusals.has(code)
}
