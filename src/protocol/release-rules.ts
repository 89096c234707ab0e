/**
 * What binds a signed target to the manifest it names and to the machine that boots it. Server and agent decide by this
 * same code: the server when a release comes in, the agent before it fetches the first byte.
 *
 *     <image>/<version>/<arch>      a release: its sha256 and length are the manifest's digest and size
 *     <image>/channel/<channel>     which release is current, and the floor below which none boots
 *
 * TUF proves who signed a target; what it says is still checked here, because a signature makes nothing sensible.
 */
import type * as z from 'zod/mini'
import { MusterError } from '../errors.ts'
import { type Arch, arch as archSchema, targetPath } from './identifiers.ts'
import {
  type ChannelDocument,
  channelCustom,
  channelDocument,
  type ReleaseCustom,
  releaseCustom,
} from './target.ts'

/** The channel that counts where nobody names one; its floor holds for every release of the image. */
export const defaultChannel = 'stable'

/** The middle segment that makes a target a channel document, so no version may be called so. */
const channelSegment = 'channel'

/** Members that `custom.critical` may list, because this code understands them. None so far. */
const understood: readonly string[] = []

/** What metadata says of a target: `custom` is whatever was signed, `sha256` lower-case hexadecimal. */
export type TargetFacts = { path: string; length: number; sha256: string; custom: unknown }

export type TargetName =
  | { kind: 'release'; image: string; version: string; arch: Arch }
  | { kind: 'channel'; image: string; channel: string }

export type Release = {
  path: string
  image: string
  version: string
  arch: Arch
  /** `sha256:<hex>` and bytes of the manifest. */
  manifest: { digest: string; size: number }
  custom: ReleaseCustom
}

/** @throws target-invalid unless the path has three segments and an architecture of ours */
export function parseTargetName(path: string): TargetName {
  if (!targetPath.safeParse(path).success) {
    throw invalid(path, 'its path is not <image>/<version>/<arch> or <image>/channel/<channel>')
  }
  const [image, version, last] = path.split('/') as [string, string, string]
  if (image.length > 64 || version.length > 64 || last.length > 64) {
    throw invalid(path, 'image, version and channel have at most 64 characters each')
  }
  if (version === channelSegment) return { kind: 'channel', image, channel: last }
  const arch = archSchema.safeParse(last)
  if (!arch.success)
    throw invalid(path, `the architecture is '${last}', expected ${archSchema.options.join(' or ')}`)
  return { kind: 'release', image, version, arch: arch.data }
}

export function releasePath(release: { image: string; version: string; arch: Arch }): string {
  return `${release.image}/${release.version}/${release.arch}`
}

export function channelPath(image: string, channel: string): string {
  return `${image}/${channelSegment}/${channel}`
}

/**
 * Reads a release target: `custom` has the shape of target.ts, agrees with the path, names the manifest by its digest,
 * and lists nothing critical that this code does not know.
 *
 * @throws target-invalid
 */
export function readRelease(target: TargetFacts): Release {
  const name = parseTargetName(target.path)
  if (name.kind !== 'release') throw invalid(target.path, 'it is a channel document, not a release')
  const parsed = releaseCustom.safeParse(target.custom)
  if (!parsed.success) throw invalid(target.path, `custom ${issueOf(parsed.error)}`)
  const custom = parsed.data
  const unknown = (custom.critical ?? []).filter((member) => !understood.includes(member))
  if (unknown.length > 0) {
    throw invalid(target.path, `it needs a newer Muster: it calls ${unknown.join(', ')} critical`)
  }
  if (custom.version !== name.version) throw invalid(target.path, `custom.version is '${custom.version}'`)
  if (custom.arch !== name.arch) throw invalid(target.path, `custom.arch is '${custom.arch}'`)
  const digest = `sha256:${target.sha256}`
  if (!custom.oci.ref.endsWith(`@${digest}`)) {
    throw invalid(target.path, `custom.oci.ref must end in @${digest}, but is '${custom.oci.ref}'`)
  }
  const manifest = { digest, size: target.length }
  return { path: target.path, image: name.image, version: name.version, arch: name.arch, manifest, custom }
}

/**
 * The manifest is the one that was signed, read as what it was signed as. `architecture` is what the manifest itself
 * says; undefined where it says nothing (plain `oras push`), and then the signed path alone decides.
 *
 * @throws manifest-mismatch
 */
export function checkManifest(
  release: Release,
  manifest: { mediaType: string; architecture: Arch | undefined },
): void {
  const { path, custom } = release
  if (manifest.mediaType !== custom.oci.mediaType) {
    throw mismatch(path, `is of media type ${manifest.mediaType}, signed as ${custom.oci.mediaType}`)
  }
  if (manifest.architecture !== undefined && manifest.architecture !== release.arch) {
    throw mismatch(path, `is for ${manifest.architecture}, signed for ${release.arch}`)
  }
}

/**
 * The release is made for this machine. An empty `hardwareIds` in the release means any hardware. The agent judges by this
 * before it fetches, and the server before it makes a plan, so that none promises what the other refuses.
 *
 * @param machine `agentVersion` undefined: not known yet, and not judged
 * @throws policy-refused, naming what differs
 */
export function checkMachine(
  release: Release,
  machine: { arch: Arch; hardwareIds: readonly string[]; agentVersion: string | undefined },
): void {
  const { custom, path } = release
  // An agent that is started like an operating system would bring a policy of its own, and this one's would end with it.
  if (custom.kind !== 'artifact')
    throw refused(path, `it is of kind '${custom.kind}', and no operating system`)
  if (release.arch !== machine.arch)
    throw refused(path, `it is for ${release.arch}, this machine is ${machine.arch}`)
  const wanted = custom.hardwareIds
  if (wanted.length > 0 && !wanted.some((id) => machine.hardwareIds.includes(id))) {
    const own = machine.hardwareIds.join(', ') || 'nothing known'
    throw refused(
      path,
      `it is for the hardware ${wanted.join(', ')}, this machine is ${own}`,
      'Choose another image by its profile, or publish a version for this hardware (--hardware-id)',
    )
  }
  const { agentVersion } = machine
  if (agentVersion !== undefined && compareVersions(agentVersion, custom.minAgent) < 0) {
    throw refused(
      path,
      `it needs agent ${custom.minAgent} or newer, this one is ${agentVersion}`,
      'Start it with a newer agent, or choose another image by its profile',
    )
  }
}

/** An old release stays listed and validly signed, so TUF does not stop it; the floor does. @throws release-below-floor */
export function checkFloor(release: Release, floor: number): void {
  const { releaseCounter } = release.custom
  if (releaseCounter >= floor) return
  throw new MusterError(
    'release-below-floor',
    `${release.path} has release counter ${releaseCounter}, but nothing below ${floor} may boot any more.`,
    { details: { path: release.path, expected: floor, found: releaseCounter } },
  )
}

/**
 * Reads a channel document, given its parsed JSON and the target it came from.
 *
 * @throws channel-invalid when it is malformed, is for another image or channel, or its floor is above its own release
 */
export function readChannel(document: unknown, target: { path: string; custom: unknown }): ChannelDocument {
  const name = parseTargetName(target.path)
  if (name.kind !== 'channel' || !channelCustom.safeParse(target.custom).success) {
    throw channelInvalid(
      target.path,
      "a channel is a target <image>/channel/<channel> with custom.kind 'channel'",
    )
  }
  const parsed = channelDocument.safeParse(document)
  if (!parsed.success) throw channelInvalid(target.path, issueOf(parsed.error))
  const channel = parsed.data
  if (channel.image !== name.image || channel.channel !== name.channel) {
    throw channelInvalid(target.path, `it is the document of ${channelPath(channel.image, channel.channel)}`)
  }
  if (channel.minReleaseCounter > channel.releaseCounter) {
    const sentence = `its floor ${channel.minReleaseCounter} is above its own release's counter ${channel.releaseCounter}`
    throw channelInvalid(target.path, sentence)
  }
  return channel
}

/** Compares dotted versions by their numbers: -1, 0 or 1; what is no number counts as 0. */
export function compareVersions(left: string, right: string): number {
  const numbers = (text: string) =>
    text.split(/[.+-]/).map((part) => (/^\d{1,9}$/.test(part) ? Number(part) : 0))
  const [a, b] = [numbers(left), numbers(right)]
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return Math.sign(difference)
  }
  return 0
}

function issueOf(error: z.core.$ZodError): string {
  const issue = error.issues[0]
  return `${issue?.path.map(String).join('.') || 'the document'}: ${issue?.message ?? 'is not as expected'}`
}

function invalid(path: string, reason: string): MusterError {
  const sentence = `The signed target ${path.slice(0, 200)} cannot be used: ${reason}.`
  return new MusterError('target-invalid', sentence, { details: { path } })
}

function mismatch(path: string, reason: string): MusterError {
  return new MusterError(
    'manifest-mismatch',
    `The manifest of ${path} ${reason}; sign it again as what it is.`,
    {
      details: { path },
    },
  )
}

function refused(path: string, reason: string, wayOut = 'Choose another image by its profile'): MusterError {
  return new MusterError('policy-refused', `${path} is not for this machine: ${reason}. ${wayOut}.`, {
    details: { path },
  })
}

function channelInvalid(path: string, reason: string): MusterError {
  const sentence = `The channel document ${path.slice(0, 200)} cannot be used: ${reason}.`
  return new MusterError('channel-invalid', sentence, { details: { path } })
}
