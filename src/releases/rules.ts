/**
 * What a new state of the releases may change, given the one before. Signatures are checked already: this is about what
 * a validly signed publication must not do by mistake, or by a stolen key of a careless hour.
 */
import { MusterError } from '../errors.ts'
import { planRole } from '../protocol/plan.ts'
import { releasePath } from '../protocol/release-rules.ts'
import { canonicalJson, type JsonValue } from '../signing/canonical-json.ts'
import type { SignedOf } from '../tuf/validate.ts'
import type { Catalog, CatalogImage } from './catalog.ts'

/**
 * Over a channel that cannot be read here nothing is published, of no image: nobody can say whether its floor would sink.
 *
 * @throws MusterError `channel-invalid`
 */
export function checkReadable(before: Catalog): void {
  const unreadable = before.skipped.find(({ code }) => code === 'channel-invalid')
  if (unreadable !== undefined) throw unreadable
}

/**
 * @throws MusterError `release-exists`, `target-invalid`, `channel-invalid`
 */
export function checkPublication(before: Catalog | undefined, after: Catalog): void {
  for (const image of after.images()) {
    const old = before?.image(image.name)
    checkUnchanged(old, image)
    checkCounters(old, image)
    checkChannels(old, image)
  }
  for (const old of before?.images() ?? []) {
    if (after.image(old.name) === undefined)
      checkChannels(old, { name: old.name, releases: [], channels: [] })
  }
}

/** A version is what it was: other content needs another version. */
function checkUnchanged(old: CatalogImage | undefined, image: CatalogImage): void {
  for (const release of old?.releases ?? []) {
    const now = image.releases.find((one) => one.path === release.path)
    if (now === undefined) continue
    const sameCustom =
      canonicalJson(now.target.custom as JsonValue) === canonicalJson(release.target.custom as JsonValue)
    if (
      now.manifest.digest === release.manifest.digest &&
      now.manifest.size === release.manifest.size &&
      sameCustom
    ) {
      continue
    }
    throw new MusterError(
      'release-exists',
      `${release.path} exists with manifest ${release.manifest.digest}; publish the new content as another version.`,
      { details: { path: release.path, expected: release.manifest.digest, found: now.manifest.digest } },
    )
  }
}

/** The counter orders versions: one per version for all architectures, and above everything that was there. */
function checkCounters(old: CatalogImage | undefined, image: CatalogImage): void {
  const highest = highestCounter(old)
  const versionOf = new Map<number, string>()
  for (const { version, arch, custom } of image.releases) {
    const { releaseCounter } = custom
    const path = releasePath({ image: image.name, version, arch })
    const other = versionOf.get(releaseCounter)
    if (other !== undefined && other !== version) {
      throw invalid(path, `it has the release counter ${releaseCounter}, as ${image.name}/${other} has`)
    }
    versionOf.set(releaseCounter, version)
    const sibling = image.releases.find(
      (one) => one.version === version && one.custom.releaseCounter !== releaseCounter,
    )
    if (sibling !== undefined) {
      const counters = `${releaseCounter} and ${sibling.custom.releaseCounter}`
      throw invalid(path, `its architectures have different release counters (${counters})`)
    }
    const isNew = !old?.releases.some((one) => one.version === version)
    if (isNew && releaseCounter <= highest) {
      throw invalid(
        path,
        `its release counter ${releaseCounter} must be above ${highest}, the highest of ${image.name} so far`,
      )
    }
  }
}

/** The highest release counter that an image ever showed; 0 for a new one. */
export function highestCounter(image: CatalogImage | undefined): number {
  const releases = (image?.releases ?? []).map(({ custom }) => custom.releaseCounter)
  // A withdrawn release leaves its trace in the channel that named it.
  const channels = (image?.channels ?? []).map(({ releaseCounter }) => releaseCounter)
  return Math.max(0, ...releases, ...channels)
}

/** A channel names a release that is there, with its manifests; its floor never sinks, and it never goes away. */
function checkChannels(old: CatalogImage | undefined, image: CatalogImage): void {
  for (const channel of image.channels) {
    const path = channel.target.path
    const releases = image.releases.filter((one) => one.version === channel.version)
    if (releases.length === 0)
      throw channelInvalid(path, `it names ${channel.version}, which is not published`)
    for (const release of releases) {
      if (release.custom.releaseCounter !== channel.releaseCounter) {
        throw channelInvalid(path, `its counter ${channel.releaseCounter} is not that of ${release.path}`)
      }
      if (channel.manifests[release.arch] !== release.manifest.digest) {
        throw channelInvalid(path, `its manifest for ${release.arch} is not the one of ${release.path}`)
      }
    }
    if (Object.keys(channel.manifests).length !== releases.length) {
      throw channelInvalid(
        path,
        `it names manifests for architectures that ${channel.version} is not published for`,
      )
    }
  }
  for (const before of old?.channels ?? []) {
    const path = before.target.path
    const now = image.channels.find((one) => one.channel === before.channel)
    if (now === undefined)
      throw channelInvalid(path, 'it was removed, and with it the floor that protects machines')
    if (now.minReleaseCounter < before.minReleaseCounter) {
      const floors = `from ${before.minReleaseCounter} to ${now.minReleaseCounter}`
      throw channelInvalid(path, `its floor would sink ${floors}; a floor only rises`)
    }
  }
}

/**
 * Delegations of top-level targets: the plan role and nothing else, because only what the catalog reads is admitted, and it reads
 * top-level targets.
 *
 * @throws MusterError `target-invalid`
 */
export function checkDelegations(targets: SignedOf<'targets'>): void {
  const roles = targets.delegations?.roles ?? []
  const plan = roles.find(({ name }) => name === planRole)
  const pattern = `${planRole}/*`
  if (plan?.paths?.length !== 1 || plan.paths[0] !== pattern) {
    const sentence = `targets.json must delegate to a role '${planRole}' with the one path ${pattern}, or no machine believes a plan.`
    throw new MusterError('target-invalid', sentence)
  }
  const others = roles.filter(({ name }) => name !== planRole).map(({ name }) => name)
  if (others.length > 0 || targets.delegations?.succinct_roles !== undefined) {
    const named = others.join(', ') || 'hash bins'
    throw new MusterError(
      'target-invalid',
      `Delegations other than '${planRole}' are not served yet, but there are: ${named}.`,
    )
  }
}

function invalid(path: string, reason: string): MusterError {
  const sentence = `${path} cannot be published: ${reason}.`
  return new MusterError('target-invalid', sentence, { details: { path } })
}

function channelInvalid(path: string, reason: string): MusterError {
  return new MusterError('channel-invalid', `The channel ${path} cannot be published: ${reason}.`, {
    details: { path },
  })
}
