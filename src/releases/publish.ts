/**
 * The publisher's half: from the current targets.json to the next one, signed by whoever holds the targets key. The server
 * needs no part in it: it gets the bytes, and decides for itself (accept.ts).
 *
 *     publisher                                       server
 *     current targets.json  ◀──────────────────────── metadata
 *     blobs, manifests, channel document ───────────▶ store (content-addressed, not yet served)
 *     targets.json N+1, signed ─────────────────────▶ acceptTargets: verify, sign snapshot and timestamp, admit, serve
 */
import { createHash } from 'node:crypto'
import { MusterError } from '../errors.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { channelPath, releasePath } from '../protocol/release-rules.ts'
import type { ChannelDocument, ReleaseCustom } from '../protocol/target.ts'
import type { JsonValue } from '../signing/canonical-json.ts'
import type { Signer } from '../signing/keys.ts'
import { buildTargets, type Delegations, signMetadata, type TargetEntry } from '../signing/repository.ts'
import type { SignedOf } from '../tuf/validate.ts'
import { type CatalogImage, floorOf } from './catalog.ts'
import { highestCounter } from './rules.ts'

/** A release as its publisher describes it: one manifest per architecture. */
export type NewRelease = {
  image: string
  version: string
  kind: ReleaseCustom['kind']
  /** `registry.example/os/edge`, or a plain name for what came from a folder; the digest is put behind it. */
  source: string
  manifests: readonly { arch: Arch; digest: string; size: number; mediaType: string }[]
  /** Empty: boots on any hardware. */
  hardwareIds: readonly string[]
  /** Oldest agent that can boot it, `0.1.0`. */
  minAgent: string
  /** Default: one above the image's highest. */
  releaseCounter?: number | undefined
}

/** Which release a channel names from now on. Floor undefined: as it was. */
export type ChannelChange = { image: string; channel: string; floor?: number | undefined }

export type Additions = {
  /** New target entries by path. */
  targets: Record<string, TargetEntry>
  /** The document of the channel, to be uploaded as a blob; undefined when no channel changes. */
  document: Uint8Array | undefined
  /** What the publisher should know, in sentences. */
  notices: string[]
}

/**
 * Target entries of a release, and of the channel that is to name it.
 *
 * `image` is what the catalog has under that name; a version that is there with the same manifests keeps its entries, so
 * publishing again changes nothing.
 * @throws MusterError `release-exists` when the version is there with other manifests, `channel-invalid` for a floor that cannot be
 */
export function describeRelease(
  release: NewRelease,
  image: CatalogImage | undefined,
  channel: ChannelChange | undefined,
): Additions {
  const { version } = release
  const known = (image?.releases ?? []).filter((one) => one.version === version)
  const releaseCounter =
    known[0]?.custom.releaseCounter ?? release.releaseCounter ?? highestCounter(image) + 1
  const targets: Record<string, TargetEntry> = {}
  const manifests: Partial<Record<Arch, string>> = {}
  for (const { arch, manifest } of known) manifests[arch] = manifest.digest
  for (const manifest of release.manifests) {
    const { arch, digest, size, mediaType } = manifest
    const path = releasePath({ image: release.image, version, arch })
    const there = manifests[arch]
    if (there === digest) continue
    if (there !== undefined) throw exists(path, there, digest)
    manifests[arch] = digest
    const custom: ReleaseCustom = {
      kind: release.kind,
      oci: { ref: `${release.source}@${digest}`, mediaType },
      version,
      arch,
      releaseCounter,
      hardwareIds: [...release.hardwareIds],
      minAgent: release.minAgent,
    }
    targets[path] = entry(digest, size, custom)
  }
  const notices =
    release.hardwareIds.length > 0
      ? []
      : [
          `${release.image}/${version} boots on any hardware of its architecture; name hardware ids to narrow that.`,
        ]
  if (channel === undefined) return { targets, document: undefined, notices }
  const now = image?.channels.find((one) => one.channel === channel.channel)
  checkFloorWish(release, releaseCounter, channel, now?.minReleaseCounter ?? 0)
  if (now !== undefined && now.releaseCounter > releaseCounter) {
    // Publishing an old version once more must not take a fleet back; that is asked for in so many words.
    notices.push(`Channel ${channel.channel} stays at ${now.version}, which is newer than ${version}.`)
    return { targets, document: undefined, notices }
  }
  const named = describeChannel({ ...channel, version, releaseCounter, manifests }, image)
  notices.push(...named.notices)
  return { targets: { ...targets, ...named.targets }, document: named.document, notices }
}

/** As its readers would refuse the channel (`readChannel`, `checkChannels`), in the words of who asks for it. */
function checkFloorWish(
  { image, version }: Pick<NewRelease, 'image' | 'version'>,
  releaseCounter: number,
  { channel, floor }: ChannelChange,
  before: number,
): void {
  if (floor === undefined || (floor <= releaseCounter && floor >= before)) return
  const release = `${image}/${version}`
  const why =
    floor > releaseCounter
      ? `is above ${releaseCounter}, the release counter of ${release}: it would not boot itself. Give at most ${releaseCounter}; 'muster images' lists the counters`
      : `is below ${before}, the floor of channel ${channel} now, and a floor only rises. Leave --floor out to keep it`
  throw new MusterError('channel-invalid', `The floor ${floor} (--floor) ${why}.`, {
    details: { floor, releaseCounter, before },
  })
}

/** The target entry of a channel, unless it says all of that already. */
export function describeChannel(
  change: ChannelChange & {
    version: string
    releaseCounter: number
    manifests: Partial<Record<Arch, string>>
  },
  image: CatalogImage | undefined,
): Additions {
  const before = image?.channels.find((one) => one.channel === change.channel)
  // A new channel starts at the image's floor, so that it is no way around it.
  const floor = change.floor ?? before?.minReleaseCounter ?? (image === undefined ? 0 : floorOf(image))
  const document: ChannelDocument = {
    image: change.image,
    channel: change.channel,
    version: change.version,
    releaseCounter: change.releaseCounter,
    minReleaseCounter: floor,
    // In one order, whichever came first: the same channel is the same bytes.
    manifests: Object.fromEntries(Object.entries(change.manifests).sort()),
  }
  const bytes = Buffer.from(`${JSON.stringify(document)}\n`)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (before?.target.sha256 === sha256) return { targets: {}, document: undefined, notices: [] }
  const path = channelPath(change.image, change.channel)
  return {
    targets: { [path]: entry(`sha256:${sha256}`, bytes.length, { kind: 'channel' }) },
    document: bytes,
    notices: lostArchitectures(before, change),
  }
}

/** What the channel named until now, and for which its new version has nothing: those machines wait, and nobody meant that. */
function lostArchitectures(
  before: ChannelDocument | undefined,
  {
    channel,
    image,
    manifests,
    version,
  }: Pick<ChannelDocument, 'channel' | 'image' | 'manifests' | 'version'>,
): string[] {
  if (before === undefined || before.version === version) return []
  const archs = (Object.keys(before.manifests) as Arch[]).filter((arch) => manifests[arch] === undefined)
  return archs.map(
    (arch) =>
      `${channel} had ${arch} (${before.version}); from now on it names none for ${arch}: those machines wait until ${image}/${version} is published for ${arch} too.`,
  )
}

/** targets.json N+1 with `additions` over the current entries and without `removals`. Pure; sign it where the key is. */
export function signNextTargets(options: {
  current: SignedOf<'targets'>
  additions: Record<string, TargetEntry>
  removals?: readonly string[]
  expires: string
  signers: Signer[]
}): Uint8Array {
  const { current, additions, removals = [], expires, signers } = options
  const targets = { ...(current.targets as unknown as Record<string, TargetEntry>), ...additions }
  for (const path of removals) delete targets[path]
  const next = buildTargets({
    version: current.version + 1,
    expires,
    targets,
    delegations: current.delegations as unknown as Delegations,
  })
  return signMetadata(next, signers)
}

function entry(digest: string, length: number, custom: object): TargetEntry {
  return {
    length,
    hashes: { sha256: digest.slice('sha256:'.length) },
    custom: custom as Record<string, JsonValue>,
  }
}

function exists(path: string, expected: string, found: string): MusterError {
  return new MusterError(
    'release-exists',
    `${path} exists with manifest ${expected}, and ${found} was to be published under it; choose another version.`,
    { details: { path, expected, found } },
  )
}
