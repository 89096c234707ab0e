/** What an agent is to trust, before it is built in: a root.json, and what the repository beside it says today. No lock, no writing. */
import { existsSync } from 'node:fs'
import { MusterError } from '../errors.ts'
import { TrustedSet } from '../tuf/verify.ts'
import { readRepositoryFiles } from './repository-files.ts'
import { type Crypto, verifyKept } from './verify-repository.ts'

/**
 * A root.json as a machine judges it: well formed, signed by the threshold of its own keys, and with enough keys for each role.
 * Expiry does not count: a machine that trusts an old root walks from it to the newest.
 *
 * @throws MusterError metadata-invalid, metadata-signature
 */
export function checkTrustedRoot(
  bytes: Uint8Array,
  options: { repository: string; nowMs: number; crypto: Crypto },
): { version: number; expires: string } {
  const { repository, nowMs, crypto } = options
  const now = new Date(nowMs)
  const { root } = new TrustedSet({ repository, root: bytes, now, staleSeconds: 0, crypto })
  for (const [role, { keyids, threshold }] of Object.entries(root.roles)) {
    const keys = keyids.filter((keyid) => Object.hasOwn(root.keys, keyid)).length
    if (keys >= threshold) continue
    throw new MusterError(
      'metadata-invalid',
      `The trusted root.json wants ${threshold} signatures of ${role} and names ${keys} keys for it, so nothing could ever be valid.`,
      { details: { role, expected: threshold, found: keys } },
    )
  }
  return { version: root.version, expires: root.expires }
}

export type KeptRepository = {
  /** `<N>.root.json` of the newest version. */
  rootName: string
  /** Every root version that is here: an agent may have been given an older one. */
  roots: Uint8Array[]
  root: Uint8Array
  /** Of the top-level targets, verified against `root`. */
  targetsVersion: number
}

/**
 * The repository in a data folder, verified as a machine verifies it. Undefined where there is none yet.
 *
 * @throws MusterError repository-not-found where a part is missing, metadata-* for anything but expiry
 */
export async function readKeptRepository(options: {
  repository: string
  metadataDirectory: string
  nowMs: number
  crypto: Crypto
}): Promise<KeptRepository | undefined> {
  const { repository, metadataDirectory, nowMs, crypto } = options
  if (!existsSync(metadataDirectory)) return undefined
  const { read, current, rootVersions } = readRepositoryFiles(metadataDirectory)
  const state = await current()
  if (state === undefined) return undefined
  const root = state.root.bytes
  const { versions } = await verifyKept({ repository, trustedRoot: root, read, state, nowMs, crypto })
  const all = await Promise.all((await rootVersions()).map((version) => read(`${version}.root.json`)))
  return {
    rootName: state.root.name,
    roots: all.filter((bytes) => bytes !== undefined),
    root,
    targetsVersion: versions.targets,
  }
}
