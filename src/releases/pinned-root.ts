/**
 * Which root a follower begins with: the one that its operator pinned, or the one that it came to by itself.
 *
 *     pinned <= stored   the pinned one: the chain on disk leads from it to the stored one
 *     pinned >  stored   the stored one, and the next sync has to come through the pinned one on its way up
 *
 * A newer file is as much the operator's word as the first one was. What is stored was verified from the older one, so it is served on
 * while the uplink is away; and the roots between the two have to be had anyway, because machines walk through them (TUF
 * specification v1.0.34 §5.3).
 */
import { MusterError } from '../errors.ts'
import { validateMetadata } from '../tuf/validate.ts'
import { TrustedSet } from '../tuf/verify.ts'
import type { RepositoryFiles, RepositoryState } from './repository-files.ts'
import type { Upstream } from './sync.ts'
import type { Crypto } from './verify-repository.ts'

/**
 * @throws MusterError `metadata-invalid` for a pinned root that is none, `metadata-signature` for one that the stored roots do not lead
 *   to, as far as that can be said without upstream
 */
export async function rootToBeginWith(options: {
  repository: string
  upstream: Upstream
  state: RepositoryState | undefined
  files: Pick<RepositoryFiles, 'read'>
  nowMs: number
  crypto: Crypto
}): Promise<Uint8Array> {
  const { crypto, files, nowMs, repository, state, upstream } = options
  const pinned = versionOf(upstream)
  if (state === undefined) return upstream.root
  const stored = state.root.signed.version
  const same = await files.read(`${pinned}.root.json`)
  if (pinned <= stored) {
    if (same !== undefined && Buffer.compare(same, upstream.root) !== 0)
      throw strange(repository, pinned, 'and this site verified another root of that version before')
    return upstream.root
  }
  if (pinned === stored + 1) {
    const from = { repository, root: state.root.bytes, now: new Date(nowMs), staleSeconds: 0, crypto }
    try {
      new TrustedSet(from).acceptRoot(upstream.root)
    } catch (cause) {
      throw strange(
        repository,
        pinned,
        `and root version ${stored}, which this site trusts, did not sign it`,
        cause,
      )
    }
  }
  return state.root.bytes
}

/**
 * That a chain which began with the stored root came through the pinned one. `read` gives the roots of that chain.
 *
 * @throws MusterError `metadata-signature`, and `metadata-rollback` where upstream is behind the pinned root
 */
export async function checkThroughPinned(options: {
  repository: string
  upstream: Upstream
  /** Where the chain began, and where it ended. */
  stored: number
  reached: number
  read(name: string): Promise<Uint8Array | undefined>
}): Promise<void> {
  const { reached, read, repository, stored, upstream } = options
  const pinned = versionOf(upstream)
  if (pinned <= stored) return
  if (reached < pinned)
    throw new MusterError(
      'metadata-rollback',
      `releases.upstream.root is root version ${pinned} of '${repository}', and ${upstream.url} only has version ${reached}: it is behind, or not the one that the file came from. Look at releases.upstream.url.`,
      { details: { expected: pinned, found: reached } },
    )
  const passed = await read(`${pinned}.root.json`)
  if (passed !== undefined && Buffer.compare(passed, upstream.root) === 0) return
  throw strange(
    repository,
    pinned,
    `and ${upstream.url} leads from the root that this site trusts to another of that version`,
  )
}

function versionOf(upstream: Upstream): number {
  try {
    return validateMetadata('root', 'root.json', upstream.root).signed.version
  } catch (cause) {
    if (!(cause instanceof MusterError)) throw cause
    throw new MusterError(
      'metadata-invalid',
      `The file of releases.upstream.root is no root.json: ${cause.message} Fetch upstream's again, by a road you trust.`,
      { cause },
    )
  }
}

function strange(repository: string, pinned: number, why: string, cause?: unknown): MusterError {
  const sentence = `The file of releases.upstream.root is root version ${pinned}, ${why}. It is another repository's, damaged, or forged: put the file back that was there before. Only if upstream's repository was made anew, and you had the file by a road you trust, move data/tuf/${repository} away and start again: the site then pulls everything anew, and its agents have to be made again.`
  return new MusterError('metadata-signature', sentence, { cause, details: { repository, pinned } })
}
