/**
 * What the verified metadata offers: images, their releases per architecture, and their channels. Every answer is made
 * from verified targets only, and says why.
 */
import { MusterError } from '../errors.ts'
import type { Arch } from '../protocol/identifiers.ts'
import {
  checkFloor,
  defaultChannel,
  parseTargetName,
  type Release,
  readChannel,
  readRelease,
} from '../protocol/release-rules.ts'
import type { ChannelDocument } from '../protocol/target.ts'
import { parseStrictJson } from '../tuf/strict-json.ts'
import type { TrustedRepository } from '../tuf/trusted-repository.ts'
import type { VerifiedTarget } from '../tuf/verify.ts'

export type CatalogRelease = Release & { target: VerifiedTarget }
export type CatalogChannel = ChannelDocument & { target: VerifiedTarget }
export type CatalogImage = {
  name: string
  /** Newest first, by release counter; one per version and architecture. */
  releases: readonly CatalogRelease[]
  channels: readonly CatalogChannel[]
}

export type Wish = { image: string; arch: Arch; channel?: string | undefined; version?: string | undefined }
export type Resolution = {
  target: VerifiedTarget
  release: Release
  /** No release of the image with a lower counter may boot. */
  floor: number
  /** Sentences for a person: what chose this release. */
  because: string[]
}

export type Catalog = {
  readonly trusted: TrustedRepository
  /** Why targets are not offered: not understood by this version of Muster, or a channel that is damaged. */
  readonly skipped: readonly MusterError[]
  /** Without those that have a channel which cannot be read here. */
  images(): readonly CatalogImage[]
  /**
   * Undefined: nothing is published under that name.
   *
   * @throws MusterError `channel-invalid` when a channel of it cannot be read here: its floor is not known, and who took it for
   *   a new image would sign that floor away
   */
  image(name: string): CatalogImage | undefined
  targets(): readonly VerifiedTarget[]
  /**
   * The release that a profile's wish means now: its version, or what its channel (default `stable`) names.
   *
   * @throws MusterError `target-not-found` when there is no such image, channel, version or architecture,
   *   `release-below-floor` when it is older than what may boot, `release-incomplete` when its content is not all here,
   *   `channel-invalid` as `image`
   */
  resolve(wish: Wish): Resolution
}

/** Channel documents are a few hundred bytes. */
export const channelBytesMax = 65_536

/**
 * Reads every target. Where `strict` is false, a release that is not understood is left out (it may come from a newer
 * Muster), and an image with a channel that cannot be read is left out whole: its floor would be lost.
 *
 * @throws MusterError with `strict` only: `target-invalid`, `channel-invalid`, and what `readTarget` throws
 */
export async function readCatalog(options: {
  trusted: TrustedRepository
  /** The bytes of a channel target. */
  readTarget(target: VerifiedTarget): Promise<Uint8Array>
  strict: boolean
  /** Whether content is served; what is not is listed and does not resolve. */
  isAdmitted?: (digest: string) => boolean
}): Promise<Catalog> {
  const { trusted, readTarget, strict, isAdmitted = () => true } = options
  const images = new Map<string, { name: string; releases: CatalogRelease[]; channels: CatalogChannel[] }>()
  const skipped: MusterError[] = []
  const withoutFloor = new Map<string, MusterError>()
  const targets = trusted.targets()
  for (const target of targets) {
    let isChannel = false
    try {
      const name = parseTargetName(target.path)
      isChannel = name.kind === 'channel'
      const image = images.get(name.image) ?? { name: name.image, releases: [], channels: [] }
      if (name.kind === 'release') image.releases.push({ ...readRelease(target), target })
      else image.channels.push({ ...readChannel(await parseDocument(target, readTarget), target), target })
      images.set(name.image, image)
    } catch (error) {
      if (strict || !(error instanceof MusterError)) throw error
      const why = isChannel ? unreadable(target, error) : error
      if (isChannel) withoutFloor.set(target.path.split('/')[0] ?? '', why)
      skipped.push(why)
    }
  }
  for (const name of withoutFloor.keys()) images.delete(name)
  for (const image of images.values()) {
    image.releases.sort(
      (a, b) => b.custom.releaseCounter - a.custom.releaseCounter || (a.arch < b.arch ? -1 : 1),
    )
  }
  const image = (name: string) => {
    const why = withoutFloor.get(name)
    if (why !== undefined) throw why
    return images.get(name)
  }
  return {
    trusted,
    skipped,
    images: () => [...images.values()],
    image,
    targets: () => targets,
    resolve(wish) {
      const resolution = resolve(image(wish.image), wish)
      const { manifest, path } = resolution.release
      if (isAdmitted(manifest.digest)) return resolution
      const sentence = `${path} is listed, but its content is not complete here; publish it again, or let the next sync fetch it.`
      throw new MusterError('release-incomplete', sentence, { details: { path } })
    },
  }
}

function unreadable({ path, sha256 }: VerifiedTarget, cause: MusterError): MusterError {
  const [image = '', , channel = ''] = path.split('/')
  const sentence = `${path} cannot be read here, and the floor of ${image} stands in it: nothing of ${image} boots, and nothing at all is published, until it is whole. Put back blobs/sha256/${sha256} from a backup, or from a follower (targets/${image}/channel/${sha256}.${channel} of its /tuf/), and start again; a follower fetches it itself. (${cause.message})`
  return new MusterError('channel-invalid', sentence, { cause, details: { path, sha256 } })
}

async function parseDocument(
  target: VerifiedTarget,
  readTarget: (target: VerifiedTarget) => Promise<Uint8Array>,
): Promise<unknown> {
  const bytes = await readTarget(target)
  try {
    return parseStrictJson(bytes, target.path).value
  } catch (cause) {
    const sentence = `The channel document ${target.path} is not JSON; publish the channel again.`
    throw new MusterError('channel-invalid', sentence, { cause, details: { path: target.path } })
  }
}

/**
 * The floor of an image: that of its default channel holds for every release; another channel may be stricter for what
 * is taken from it. 0 where there is none.
 */
export function floorOf(image: CatalogImage, channel = defaultChannel): number {
  const counting = image.channels.filter((one) => one.channel === defaultChannel || one.channel === channel)
  return Math.max(0, ...counting.map((one) => one.minReleaseCounter))
}

function resolve(image: CatalogImage | undefined, wish: Wish): Resolution {
  if (image === undefined) throw notFound(wish, `no image is called ${wish.image}`)
  const { version, because, floor } =
    wish.version === undefined ? byChannel(image, wish) : byVersion(image, wish)
  const release = image.releases.find((one) => one.version === version && one.arch === wish.arch)
  if (release === undefined) {
    const others = image.releases.filter((one) => one.version === version).map((one) => one.arch)
    const offered = others.length > 0 ? `only for ${others.join(', ')}` : 'not at all'
    throw notFound(wish, `${image.name}/${version} is there ${offered}, this machine is ${wish.arch}`)
  }
  checkFloor(release, floor)
  const { target, ...plain } = release
  return { target, release: plain, floor, because }
}

function byVersion(image: CatalogImage, wish: Wish) {
  const version = wish.version ?? ''
  const floor = floorOf(image, wish.channel)
  return { version, floor, because: [`version ${version} of ${image.name} is asked for by name`] }
}

function byChannel(image: CatalogImage, wish: Wish) {
  const name = wish.channel ?? defaultChannel
  const channel = image.channels.find((one) => one.channel === name)
  if (channel === undefined) {
    const known = image.channels.map((one) => one.channel).join(', ') || 'none'
    throw notFound(wish, `${image.name} has no channel ${name}; its channels are: ${known}`)
  }
  const counter = `release counter ${channel.releaseCounter}`
  const because = `channel ${name} of ${image.name} names ${channel.version} (${counter}) as current`
  return { version: channel.version, floor: floorOf(image, name), because: [because] }
}

function notFound(wish: Wish, reason: string): MusterError {
  const sentence = `No release fits: ${reason}. Publish it with 'muster image publish', or change the profile.`
  return new MusterError('target-not-found', sentence, { details: { ...wish } })
}
