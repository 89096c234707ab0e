/** Runs the client's own verification over metadata that is here: what we serve is first read as a machine reads it. */
import { MusterError } from '../errors.ts'
import type { TrustedRepository } from '../tuf/trusted-repository.ts'
import { type RefreshOptions, refresh } from '../tuf/updater.ts'
import { isBeyond, type RepositoryState } from './repository-files.ts'

export type Crypto = RefreshOptions['crypto']
export type ReadMetadata = (name: string) => Promise<Uint8Array | undefined>

/**
 * Verifies the repository that `read` gives, as a client that trusts `trustedRoot` and last saw `before` (so that nothing
 * is taken back).
 *
 * @throws MusterError metadata-* as `refresh` does
 */
export function verifyRepository(options: {
  repository: string
  trustedRoot: Uint8Array
  read: ReadMetadata
  before?: RepositoryState | undefined
  nowMs: number
  crypto: Crypto
}): Promise<TrustedRepository> {
  const { repository, trustedRoot, read, before, nowMs, crypto } = options
  return refresh({
    repository,
    trustedRoot,
    fetch: (name) => read(name),
    files: inMemory(before),
    now: new Date(nowMs),
    crypto,
  })
}

/** What `refresh` keeps between two runs, as our versioned files hold it. Writes stay in memory. */
export function inMemory(
  before: RepositoryState | undefined,
): RefreshOptions['files'] & Map<string, Uint8Array> {
  const kept = new Map<string, Uint8Array>()
  if (before !== undefined) {
    kept.set('timestamp.json', before.timestamp.bytes)
    kept.set('snapshot.json', before.snapshot.bytes)
    kept.set('targets.json', before.targets.bytes)
  }
  return Object.assign(kept, {
    read: async (name: string) => kept.get(name),
    write: async (name: string, bytes: Uint8Array) => {
      kept.set(name, bytes)
    },
  })
}

/**
 * Verifies what is on disk at a start, and no root beyond it. Expired metadata (the uplink or an offline key was away for too long) still tells
 * which releases there are: it is read as of the last second in which all of it held, and `Releases.expired` says what to renew.
 *
 * @throws MusterError metadata-* for anything but expiry
 */
export async function verifyKept(options: {
  repository: string
  trustedRoot: Uint8Array
  read: ReadMetadata
  state: RepositoryState
  nowMs: number
  crypto: Crypto
}): Promise<TrustedRepository> {
  const { state, nowMs, ...others } = options
  const read: ReadMetadata = async (name) => (isBeyond(state, name) ? undefined : others.read(name))
  const rest = { ...others, read }
  try {
    return await verifyRepository({ ...rest, nowMs })
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'metadata-expired') throw error
    const expiries = Object.values(state).map(({ signed }) => Date.parse(signed.expires))
    return verifyRepository({ ...rest, nowMs: Math.min(...expiries) - 1000 })
  }
}
