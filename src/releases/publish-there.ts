/**
 * Publishing to a server from where the targets key is. The server is not trusted: its metadata is verified as a machine
 * verifies it before anything is signed over it, or a taken-over server could have its own entries signed with the next release.
 */
import { createHash } from 'node:crypto'
import { MusterError } from '../errors.ts'
import { editDistance, nearest } from '../nearest.ts'
import { type BlobSink, type PullProgress, pullInto } from '../oci/pull.ts'
import { releasePath } from '../protocol/release-rules.ts'
import { type ExpiryPeriods, expiresIn } from '../signing/expiry.ts'
import type { Signer } from '../signing/keys.ts'
import { type SignedOf, validateMetadata } from '../tuf/validate.ts'
import type { VerifiedTarget } from '../tuf/verify.ts'
import { type Catalog, readCatalog } from './catalog.ts'
import { signNextTargets } from './publish.ts'
import {
  additionsOf,
  changedBy,
  type Published,
  type PublishRequest,
  resolveManifests,
} from './publish-here.ts'
import { type Crypto, verifyRepository } from './verify-repository.ts'

/** What the publisher needs of a server: the admin plane's API, or the rooms themselves. */
export type PublishingServer = {
  /** A metadata file as served; undefined when there is none of that name. */
  metadata(name: string): Promise<Uint8Array | undefined>
  /** All of a small blob. @throws MusterError blob-unavailable */
  readBlob(digest: string, maxBytes: number): Promise<Uint8Array>
  /** Where content goes; nothing of it is served before it is signed. */
  sink: BlobSink
  /** What it answers is not believed. */
  acceptTargets(bytes: Uint8Array): Promise<unknown>
}

/** A server that is not trusted, and what its metadata is held against. */
export type ServerAccess = {
  server: PublishingServer
  repository: string
  /** root.json that came by a road that is trusted, of any version. */
  trustedRoot: Uint8Array
  signer: Signer
  /**
   * The last targets version that this publisher signed or saw; 0 the first time. Targets live for months: without this, a
   * taken-over server could show old ones, and the next release would be signed over them, floors and all.
   */
  leastTargetsVersion: number
  periods: ExpiryPeriods
  now: () => number
  crypto: Crypto
}

export type PublishThere = ServerAccess &
  Omit<PublishRequest, 'onProgress'> & {
    /** That there is no image of that name yet, although there is one of nearly the same, is meant. */
    newImage?: boolean | undefined
    onProgress?: (progress: PullProgress) => void
    signal?: AbortSignal
  }

/**
 * The same content again changes nothing, so a publication that was interrupted is simply repeated.
 *
 * @throws MusterError metadata-* when what the server shows does not verify or is older than `leastTargetsVersion`, `key-invalid` when root does not name this key for
 *   targets, `request-invalid` for an image name that is a slip of another's, `release-exists`, what the source throws, and what the server answers
 */
export async function publishThere(options: PublishThere): Promise<Published> {
  const { server, source, image, version, signer, signal, onProgress } = options
  const { catalog, current } = await readServer(options)
  if (options.newImage !== true) checkImageName(image, catalog)
  const resolved = await resolveManifests(options)
  // First what refuses it: an upload takes long.
  const additions = additionsOf(options, resolved, catalog)
  await pullInto({
    source,
    manifests: resolved,
    sink: server.sink,
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(signal === undefined ? {} : { signal }),
  })
  const published = {
    releases: resolved.map(({ arch, descriptor }) => ({
      path: releasePath({ image, version, arch }),
      digest: descriptor.digest,
    })),
    notices: additions.notices,
    changed: changedBy(additions.targets),
  }
  if (Object.keys(additions.targets).length === 0) return { ...published, targetsVersion: current.version }
  if (additions.document !== undefined) await upload(server.sink, additions.document)
  const bytes = signNextTargets({
    current,
    additions: additions.targets,
    expires: expiresIn(options.now(), options.periods.targets),
    signers: [signer],
  })
  await server.acceptTargets(bytes)
  // What was signed, not what a server says of it: the publisher's memory is its only guard against that server.
  return { ...published, targetsVersion: current.version + 1 }
}

/** An image can never be taken back whole (its channel holds a floor), so a slip is asked about before it is one. */
function checkImageName(image: string, catalog: Catalog): void {
  const names = catalog.images().map(({ name }) => name)
  if (names.includes(image)) return
  const meant = nearest(
    image,
    names.filter((name) => isSlip(image, name)),
  )
  if (meant === undefined) return
  throw new MusterError(
    'request-invalid',
    `No image is called '${image}' yet, and there is '${meant}': did you mean that (--as ${meant}/…)? If '${image}' is to be another image, say so with --new-image.`,
    { details: { image, meant } },
  )
}

/** Nearer than "did you mean" goes, because that only suggests. Names that differ in their numbers are a family: debian-12, debian-13. */
function isSlip(image: string, known: string): boolean {
  const words = (name: string) => name.replaceAll(/\d+/g, '0')
  if (words(image) === words(known)) return false
  return editDistance(image, known) <= (known.length >= 8 ? 2 : 1)
}

/**
 * The server's releases, verified, and its targets.json, over which the next one is signed.
 * @throws MusterError as `publishThere`
 */
export async function readServer(
  options: ServerAccess,
): Promise<{ catalog: Catalog; current: SignedOf<'targets'> }> {
  const { server, repository, trustedRoot, signer, now, crypto } = options
  const seen = new Map<string, Uint8Array>()
  const read = async (name: string) => {
    const bytes = await server.metadata(name)
    if (bytes !== undefined) seen.set(name, bytes)
    return bytes
  }
  const trusted = await verifyRepository({ repository, trustedRoot, read, nowMs: now(), crypto })
  const { versions } = trusted
  if (versions.targets < options.leastTargetsVersion) {
    const sentence = `The server shows targets version ${versions.targets} of '${repository}', and version ${options.leastTargetsVersion} was signed before: it was restored from a backup, or taken over. Nothing is signed over old targets; look at the server first.`
    throw new MusterError('metadata-rollback', sentence, {
      details: { expected: options.leastTargetsVersion, found: versions.targets },
    })
  }
  const root = validateMetadata('root', 'root.json', seen.get(`${versions.root}.root.json`) ?? trustedRoot)
  if (!root.signed.roles.targets.keyids.includes(signer.keyid)) {
    const sentence = `The key ${signer.keyid.slice(0, 16)}… is not one that root version ${versions.root} of '${repository}' names for targets; give the right one with --key.`
    throw new MusterError('key-invalid', sentence, { details: { keyid: signer.keyid } })
  }
  const name = `${versions.targets}.targets.json`
  const bytes = seen.get(name)
  if (bytes === undefined) throw new MusterError('internal', `${name} was verified, but never read.`)
  const readTarget = (target: VerifiedTarget) => readVerified(server, target)
  return {
    // Strictly: over a channel that cannot be read, its floor would be signed away.
    catalog: await readCatalog({ trusted, readTarget, strict: true }),
    current: validateMetadata('targets', name, bytes).signed,
  }
}

/** The floor of a channel stands in these bytes: they have to be the ones that were signed. */
async function readVerified(server: PublishingServer, target: VerifiedTarget): Promise<Uint8Array> {
  const bytes = await server.readBlob(`sha256:${target.sha256}`, target.length)
  const found = createHash('sha256').update(bytes).digest('hex')
  if (found === target.sha256) return bytes
  throw new MusterError(
    'blob-digest',
    `The server's bytes for ${target.path} are sha256:${found}, but sha256:${target.sha256} was signed.`,
    { details: { path: target.path, expected: target.sha256, found } },
  )
}

export async function upload(sink: BlobSink, bytes: Uint8Array): Promise<void> {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if ((await sink.size(digest)) !== undefined) return
  await sink.write({ digest, size: bytes.length }, once(bytes))
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
