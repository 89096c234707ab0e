/**
 * One error for the whole program: a closed `code` for programs, a sentence for people.
 *
 * Every code has a paragraph in docs/errors.md (test/docs.test.ts compares both ways). The sentence names the thing,
 * says what was expected and what was found, and the way out. Pure: the agent shares this file, so no Node here.
 */

/** Codes by the room that throws them. A code is never renamed: scripts and runbooks match on it. */
export const errorCodes = [
  // tuf: metadata is broken, or sound but not acceptable now
  'metadata-invalid',
  'metadata-signature',
  'metadata-expired',
  'metadata-rollback',
  'metadata-mismatch',
  'metadata-too-large',
  'metadata-unavailable',
  'target-not-found',
  'target-invalid',
  // releases: sound but not allowed here
  'release-below-floor',
  'release-exists',
  'release-in-use',
  'release-incomplete',
  'channel-invalid',
  'not-verified',
  // plan: the signed answer to "what does this machine boot now"
  'plan-invalid',
  'plan-signature',
  'plan-nonce',
  'plan-machine',
  'plan-expired',
  'plan-changed',
  'argument-refused',
  'file-refused',
  'policy-refused',
  // oci: registries, layouts, manifests, blobs
  'reference-invalid',
  'manifest-invalid',
  'manifest-too-large',
  'manifest-mismatch',
  'blob-digest',
  'blob-too-long',
  'blob-truncated',
  'blob-unavailable',
  'registry-unauthorized',
  'registry-not-found',
  'registry-unavailable',
  'registry-invalid',
  'layout-invalid',
  'layer-invalid',
  // agent: between a machine and its server
  'server-unreachable',
  'server-pin',
  'server-refused',
  'network-unavailable',
  'memory-too-small',
  'kexec-failed',
  'kexec-locked-down',
  'agent-config-invalid',
  // wire, tftp
  'packet-invalid',
  'file-not-found',
  'access-denied',
  'operation-refused',
  'too-many-transfers',
  'transfer-timeout',
  'transfer-failed',
  'listen-failed',
  'engine-unavailable',
  // machines, boots, sessions
  'machine-not-found',
  'machine-ambiguous',
  'machine-changed',
  'identity-conflict',
  'boot-not-found',
  'session-invalid',
  'profile-invalid',
  'profile-not-found',
  'profile-tie',
  'cluster-invalid',
  'cluster-not-found',
  'label-missing',
  'limit-reached',
  'report-refused',
  // signing
  'key-invalid',
  'key-not-found',
  'repository-exists',
  'repository-not-found',
  'repository-locked',
  // store, database
  'database-newer',
  'database-locked',
  'database-failed',
  'store-failed',
  // configuration and start
  'config-invalid',
  'data-unwritable',
  'preparing',
  'clock-behind',
  'download-failed',
  'package-missing',
  'build-failed',
  'lint-failed',
  'unauthorized',
  'request-invalid',
  'trouble-found',
  'internal',
] as const

export type ErrorCode = (typeof errorCodes)[number]

export class MusterError extends Error {
  override readonly name = 'MusterError'
  readonly code: ErrorCode
  /** Machine-readable facts beside the sentence: `expected`, `found`, `path`, … Never a secret. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }
}

/** The code of any thrown value: our own, or `internal` for what nobody foresaw. */
export function errorCodeOf(error: unknown): ErrorCode {
  return error instanceof MusterError ? error.code : 'internal'
}
