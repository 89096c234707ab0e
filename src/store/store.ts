/**
 * The one door between what came in and what goes out: nothing is served as an image that `admit` did not accept, and
 * `admit` takes only what TUF verification vouched for.
 *
 *     blobs here ──admit(VerifiedTarget, manifest, blobs)──▶ admissions/<manifest hex>.json ──open(digest)──▶ machine
 *
 * An admission is one small file, written durably and whole after every blob it names is on disk: a crash leaves the
 * release admitted or not, never half. Why files beside the blobs and not the database: docs/decisions/0005.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { digest as digestSchema } from '../protocol/identifiers.ts'
import { systemReason } from '../system-error.ts'
import { VerifiedTarget } from '../tuf/verify.ts'
import type { BlobDescriptor, BlobStore, OpenBlob } from './blobs.ts'
import { removeUnfinishedWrites, writeFileDurably } from './durable-files.ts'

const descriptor = z.object({ digest: digestSchema, size: z.number().check(z.int(), z.gte(0)) })
const admission = z.object({
  /** The target's own bytes: an OCI manifest, or a channel document. */
  manifest: descriptor,
  blobs: z.array(descriptor),
  /** Every verified target that named these bytes. */
  targets: z.array(z.object({ repository: z.string(), path: z.string() })),
  admittedAt: z.string(),
})
export type Admission = z.infer<typeof admission>

export type Store = {
  /**
   * Takes a release in, all of it: `manifest` are the target's bytes, `blobs` everything that they name. Again is no harm.
   *
   * @throws MusterError `not-verified` unless `target` came out of TUF verification, `manifest-mismatch` when the bytes
   *   are not the target's, `release-incomplete` while a blob is missing, `store-failed` when the disk refuses
   */
  admit(
    target: VerifiedTarget,
    content: { manifest: Uint8Array; blobs: readonly BlobDescriptor[] },
  ): Promise<void>
  isAdmitted(digest: string): boolean
  /** Size in bytes of admitted content; undefined for anything else, whether it is in the folder or not. */
  size(digest: string): number | undefined
  /** @throws MusterError `not-verified` for content that no admitted release names, and what `BlobStore.open` throws */
  open(digest: string): Promise<OpenBlob>
  admitted(): Admission[]
}

/** Reads what was admitted before. A damaged record is logged and counts as not admitted. */
export async function createStore(options: {
  /** data/store */
  directory: string
  blobs: BlobStore
  log: Log
  now?: () => number
}): Promise<Store> {
  const { blobs, log, now = Date.now } = options
  const directory = join(options.directory, 'admissions')
  await mkdir(directory, { recursive: true })
  await removeUnfinishedWrites(directory)
  const admissions = await loadAdmissions(directory, log)
  const sizes = new Map<string, number>()
  for (const record of admissions.values()) index(record)
  // Admissions are written one after the other, so that two targets with one manifest end up in one record.
  let last: Promise<unknown> = Promise.resolve()

  function index({ manifest, blobs: parts }: Admission): void {
    for (const { digest, size } of [manifest, ...parts]) sizes.set(digest, size)
  }

  async function record(target: VerifiedTarget, manifest: BlobDescriptor, parts: readonly BlobDescriptor[]) {
    const before = admissions.get(manifest.digest)
    const { repository, path } = target
    const known = before?.targets.some((other) => other.repository === repository && other.path === path)
    if (before !== undefined && known === true) return
    const next: Admission = {
      manifest,
      blobs: parts.map(({ digest, size }) => ({ digest, size })),
      targets: [...(before?.targets ?? []), { repository, path }],
      admittedAt: before?.admittedAt ?? new Date(now()).toISOString(),
    }
    const name = `${manifest.digest.slice('sha256:'.length)}.json`
    try {
      await writeFileDurably(join(directory, name), Buffer.from(`${JSON.stringify(next)}\n`))
    } catch (cause) {
      const sentence = `The admission of ${path} could not be written: ${systemReason(cause)}. See to the disk of ${directory}.`
      throw new MusterError('store-failed', sentence, { cause })
    }
    admissions.set(manifest.digest, next)
    index(next)
    log.debug({ repository, path, manifest: manifest.digest }, 'admitted')
  }

  return {
    async admit(target, content) {
      // A type can be cast; only verification can make what this asks for.
      if (!VerifiedTarget.isVerified(target)) {
        const sentence =
          'The store admits only targets that TUF verification made; publish or pull the release instead.'
        throw new MusterError('not-verified', sentence)
      }
      const manifest = checkBytes(target, content.manifest)
      await checkComplete(blobs, target, content.blobs)
      await blobs.write(manifest, once(content.manifest))
      const written = last.then(() => record(target, manifest, content.blobs))
      last = written.catch(() => {})
      await written
    },

    isAdmitted: (digest) => sizes.has(digest),
    size: (digest) => sizes.get(digest),

    async open(digest) {
      if (!sizes.has(digest)) {
        const sentence = `${digest.slice(0, 100)} belongs to no admitted release, so it is not served; publish or pull the release.`
        throw new MusterError('not-verified', sentence, { details: { digest } })
      }
      return blobs.open(digest)
    },

    admitted: () => [...admissions.values()],
  }
}

function checkBytes(target: VerifiedTarget, bytes: Uint8Array): BlobDescriptor {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 === target.sha256 && bytes.length === target.length) {
    return { digest: `sha256:${sha256}`, size: bytes.length }
  }
  throw new MusterError(
    'manifest-mismatch',
    `${target.path} is signed as sha256:${target.sha256} with ${target.length} bytes, but sha256:${sha256} with ${bytes.length} bytes was to be admitted.`,
    { details: { path: target.path, expected: target.sha256, found: sha256 } },
  )
}

async function checkComplete(
  blobs: BlobStore,
  target: VerifiedTarget,
  parts: readonly BlobDescriptor[],
): Promise<void> {
  const missing: string[] = []
  for (const { digest, size } of parts) {
    if ((await blobs.size(digest)) !== size) missing.push(`${digest} (${size} bytes)`)
  }
  if (missing.length === 0) return
  const named = missing.slice(0, 4).join(', ')
  throw new MusterError(
    'release-incomplete',
    `${target.path} cannot be admitted: ${missing.length} of its ${parts.length} blobs are not here: ${named}. Push or pull them and try again.`,
    { details: { path: target.path, missing } },
  )
}

async function loadAdmissions(directory: string, log: Log): Promise<Map<string, Admission>> {
  const admissions = new Map<string, Admission>()
  for (const name of await readdir(directory)) {
    if (!name.endsWith('.json')) continue
    const path = join(directory, name)
    try {
      const record = admission.parse(JSON.parse(await readFile(path, 'utf8')))
      if (`${record.manifest.digest}.json` !== `sha256:${name}`)
        throw new Error('it is the record of another manifest')
      admissions.set(record.manifest.digest, record)
    } catch (error) {
      // Served again once the release is published or pulled again; guessing what it said would be serving unverified.
      log.error(
        { path, error: String(error) },
        'an admission record is damaged, so its release is not served',
      )
    }
  }
  return admissions
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
