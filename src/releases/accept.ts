/**
 * The server's half of publishing: signed targets come in, and a whole new state of the repository goes out or nothing does.
 *
 * Nobody is believed: the bytes are verified as every machine will verify them, with the snapshot and timestamp that would
 * belong to them, in memory. Only when that holds, the rules hold and the content is here is it admitted, then written,
 * timestamp.json last: the moment at which the publication happened.
 */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { pickArtifact } from '../oci/artifact.ts'
import type { Release } from '../protocol/release-rules.ts'
import { type ExpiryPeriods, expiresIn } from '../signing/expiry.ts'
import { type Keys, requireKey } from '../signing/keys.ts'
import { buildSnapshot, buildTimestamp, signMetadata } from '../signing/repository.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { Store } from '../store/store.ts'
import type { TrustedRepository } from '../tuf/trusted-repository.ts'
import { validateMetadata } from '../tuf/validate.ts'
import { admitTarget, offeredTargets, readManifest, readTargetBytes } from './admit.ts'
import { type Catalog, readCatalog } from './catalog.ts'
import type { RepositoryFiles, RepositoryState } from './repository-files.ts'
import { checkDelegations, checkPublication, checkReadable } from './rules.ts'
import { type Crypto, verifyRepository } from './verify-repository.ts'

export type RepositoryTools = {
  repository: string
  files: RepositoryFiles
  blobs: BlobStore
  store: Store
  keys: Keys
  periods: ExpiryPeriods
  crypto: Crypto
  now: () => number
  log: Log
}

/** Whether releases may go; the caller knows who needs them. @throws MusterError `release-in-use` */
export type CheckWithdrawn = (withdrawn: readonly Release[]) => Promise<void>

/**
 * Accepts targets.json N+1. The very bytes that are current already are accepted again without effect, because a publisher
 * whose answer got lost asks again.
 *
 * @throws MusterError `metadata-rollback` or `metadata-mismatch` when the version is not the next one, `metadata-*` when it does
 *   not verify, `target-invalid`, `channel-invalid`, `release-exists` when it breaks a rule, what `checkWithdrawn` throws, `release-incomplete` while content is
 *   missing, `manifest-*` for a manifest that cannot boot, `key-not-found` when this server cannot sign snapshot or timestamp
 */
export async function acceptTargets(
  tools: RepositoryTools,
  state: RepositoryState,
  before: Catalog,
  bytes: Uint8Array,
  checkWithdrawn: CheckWithdrawn = async () => {},
): Promise<Catalog> {
  const { files, log } = tools
  if (Buffer.compare(bytes, state.targets.bytes) === 0) return before
  const { signed } = validateMetadata('targets', 'targets.json', bytes)
  checkNextVersion(signed.version, state.targets.signed.version)
  checkDelegations(signed)
  checkNeverReplaced(tools, signed.targets)
  checkReadable(before)

  const next = signOver(tools, state, { targets: { version: signed.version, bytes } })
  const trusted = await verifyNext(tools, state, next)
  const catalog = await readCatalog({
    trusted,
    readTarget: (target) => readTargetBytes(tools.blobs, target),
    strict: true,
  })
  checkPublication(before, catalog)
  const withdrawn = withdrawnBy(before, catalog)
  if (withdrawn.length > 0) await checkWithdrawn(withdrawn)
  await checkBootable(tools, before, catalog)
  for (const target of offeredTargets(catalog)) await admitTarget(tools, target)
  await files.commit(next)
  log.info({ repository: tools.repository, versions: catalog.trusted.versions }, 'published')
  for (const { path } of withdrawn)
    log.info({ repository: tools.repository, path }, 'a release was withdrawn')
  return catalog
}

/**
 * Signs what has to follow from new root or targets bytes (or from nothing but the passing of time): snapshot when targets
 * changed or `snapshot` is asked for, and always timestamp.
 *
 * @throws MusterError `key-not-found`
 */
export function signOver(
  tools: Pick<RepositoryTools, 'keys' | 'periods' | 'now'>,
  state: RepositoryState,
  changes: {
    root?: { version: number; bytes: Uint8Array }
    targets?: { version: number; bytes: Uint8Array }
    snapshot?: boolean
  },
): Map<string, Uint8Array> {
  const { keys, periods, now } = tools
  const { root, targets } = changes
  const next = new Map<string, Uint8Array>()
  if (root !== undefined) next.set(`${root.version}.root.json`, root.bytes)
  let snapshot = { version: state.snapshot.signed.version, bytes: state.snapshot.bytes }
  if (targets !== undefined || changes.snapshot === true) {
    const described = targets ?? { version: state.targets.signed.version, bytes: state.targets.bytes }
    const version = snapshot.version + 1
    const signed = buildSnapshot({
      version,
      expires: expiresIn(now(), periods.snapshot),
      targetsVersion: described.version,
      targets: described.bytes,
    })
    snapshot = { version, bytes: signMetadata(signed, [requireKey(keys, 'snapshot')]) }
    if (targets !== undefined) next.set(`${targets.version}.targets.json`, targets.bytes)
    next.set(`${version}.snapshot.json`, snapshot.bytes)
  }
  const timestamp = buildTimestamp({
    version: state.timestamp.signed.version + 1,
    expires: expiresIn(now(), periods.timestamp),
    snapshotVersion: snapshot.version,
    snapshot: snapshot.bytes,
  })
  next.set('timestamp.json', signMetadata(timestamp, [requireKey(keys, 'timestamp')]))
  return next
}

/** Verifies a state that is not written yet, as a machine that saw the one before would. @throws as `verifyRepository` */
export function verifyNext(
  tools: Pick<RepositoryTools, 'repository' | 'files' | 'crypto' | 'now'>,
  state: RepositoryState,
  next: ReadonlyMap<string, Uint8Array>,
): Promise<TrustedRepository> {
  const { repository, files, crypto, now } = tools
  return verifyRepository({
    repository,
    trustedRoot: state.root.bytes,
    read: async (name) => next.get(name) ?? (await files.read(name)),
    before: state,
    nowMs: now(),
    crypto,
  })
}

function checkNextVersion(found: number, current: number): void {
  if (found === current + 1) return
  const code = found <= current ? 'metadata-rollback' : 'metadata-mismatch'
  const sentence = `targets.json must have version ${current + 1}, because ${current} is published, but has ${found}; take the current one and sign again.`
  throw new MusterError(code, sentence, { details: { expected: current + 1, found } })
}

/** A version that was withdrawn and comes back is still the same version: what was admitted under a path stays its content. */
function checkNeverReplaced(
  { repository, store }: Pick<RepositoryTools, 'repository' | 'store'>,
  targets: Readonly<Record<string, { hashes: Record<string, string> }>>,
): void {
  for (const { manifest, targets: named } of store.admitted()) {
    for (const { repository: where, path } of named) {
      const now = targets[path]?.hashes['sha256']
      if (where !== repository || path.includes('/channel/') || now === undefined) continue
      if (`sha256:${now}` === manifest.digest) continue
      const sentence = `${path} was published before with manifest ${manifest.digest}; choose another version.`
      throw new MusterError('release-exists', sentence, { details: { path, expected: manifest.digest } })
    }
  }
}

function withdrawnBy(before: Catalog, after: Catalog): Release[] {
  const listed = new Set(after.targets().map(({ path }) => path))
  return before.images().flatMap(({ releases }) => releases.filter(({ path }) => !listed.has(path)))
}

/** What is new has to be something a machine can boot: found at the desk, not on a thousand consoles. */
async function checkBootable(tools: RepositoryTools, before: Catalog, after: Catalog): Promise<void> {
  const known = new Set(before.targets().map(({ path }) => path))
  for (const { releases } of after.images()) {
    for (const release of releases) {
      if (known.has(release.path)) continue
      pickArtifact(readManifest(release, await readTargetBytes(tools.blobs, release.target)))
    }
  }
}
