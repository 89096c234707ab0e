/** What a follower says of the server that it follows: that nothing came yet, why the last sync failed, that it publishes nothing. */
import { type ErrorCode, errorCodeOf, MusterError } from '../errors.ts'
import type { Upstream } from './sync.ts'

/** The last sync, where it failed. `at`: ISO 8601. */
export type SyncFailure = { at: string; code: ErrorCode; reason: string }

export function syncFailure(error: unknown, nowMs: number): SyncFailure {
  return {
    at: new Date(nowMs).toISOString(),
    code: errorCodeOf(error),
    reason: error instanceof Error ? error.message : String(error),
  }
}

export function repositoryNotFound(
  repository: string,
  upstream: Upstream | undefined,
  failure?: SyncFailure,
): MusterError {
  const yet =
    failure === undefined
      ? 'yet; it is there after the first successful sync.'
      : `yet, because the last sync failed: ${failure.reason}`
  const sentence =
    upstream === undefined
      ? `There is no repository '${repository}' here; make one with 'muster tuf init', or restore data/tuf and data/keys.`
      : `Nothing of '${repository}' has come from ${upstream.url} ${yet}`
  return new MusterError('repository-not-found', sentence, { details: { repository } })
}

/** A follower has no key of releases, and a key brought to it would make two repositories of one. */
export function publishedUpstream(repository: string, url: string): MusterError {
  const sentence = `This server follows ${url} and signs no releases of '${repository}' itself: publish and remove them at that server, and they come here with the next sync.`
  return new MusterError('key-not-found', sentence, { details: { repository, upstream: url } })
}

/**
 * A chain that does not hold from where trust begins: what is wrong is the file or the address far more often than a key, so both are named.
 * @param stored version of the root that this site came to by itself; undefined: trust begins with the operator's file
 */
export function strangeUpstream(cause: unknown, url: string, stored: number | undefined): unknown {
  if (!(cause instanceof MusterError) || cause.code !== 'metadata-signature') return cause
  const found = `${url} is signed by other keys than`
  const sentence =
    stored === undefined
      ? `${found} those of your root file (releases.upstream.root): that file is another repository's, or releases.upstream.url names another server. ${cause.message}`
      : `${found} those that this site trusts (root version ${stored}): its repository was made anew, another server answers there, or it was taken over. ${cause.message}`
  return new MusterError('metadata-signature', sentence, { cause, details: { url } })
}
