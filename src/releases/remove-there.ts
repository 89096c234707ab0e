/**
 * Withdrawing a release: the next targets.json, signed where the targets key is, without its entries. Whatever the server shows is
 * verified first, as for a publication, and the server verifies what comes back (accept.ts).
 *
 * Nothing is taken off a disk by it: a machine that holds a plan for the release still gets its bytes by digest, and the record of
 * what was under a path keeps other content from ever being published under it.
 */
import { MusterError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { expiresIn } from '../signing/expiry.ts'
import type { TargetEntry } from '../signing/repository.ts'
import type { Catalog, CatalogImage } from './catalog.ts'
import { describeChannel, signNextTargets } from './publish.ts'
import { readServer, type ServerAccess, upload } from './publish-there.ts'

export type RemoveThere = ServerAccess & {
  image: string
  version: string
  /** The version that channels name from now on which named this one. */
  instead?: string | undefined
}

export type Removed = {
  /** Target paths, one an architecture. */
  removed: string[]
  /** Those that name `instead` from now on. */
  channels: string[]
  /** Version of targets.json that no longer has it. */
  targetsVersion: number
  /** What the publisher should know, in sentences. */
  notices: string[]
}

export type Withdrawal = {
  removals: string[]
  additions: Record<string, TargetEntry>
  documents: Uint8Array[]
  channels: string[]
  notices: string[]
}

/**
 * @throws MusterError `target-not-found` when the version, or `instead`, is not published, `release-in-use` when a channel names it
 *   and there is no `instead`, and as `publishThere`
 */
export async function removeThere(options: RemoveThere): Promise<Removed> {
  const { server, signer, now, periods } = options
  const { catalog, current } = await readServer(options)
  const image = catalog.image(options.image)
  if (image === undefined) throw unknownImage(options.image, catalog)
  const withdrawal = describeWithdrawal(image, options)
  for (const document of withdrawal.documents) await upload(server.sink, document)
  const bytes = signNextTargets({
    current,
    additions: withdrawal.additions,
    removals: withdrawal.removals,
    expires: expiresIn(now(), periods.targets),
    signers: [signer],
  })
  await server.acceptTargets(bytes)
  return {
    removed: withdrawal.removals,
    channels: withdrawal.channels,
    notices: withdrawal.notices,
    targetsVersion: current.version + 1,
  }
}

/** What changes in targets.json. Pure. @throws MusterError as `removeThere` says */
export function describeWithdrawal(
  image: CatalogImage | undefined,
  request: Pick<RemoveThere, 'image' | 'version' | 'instead'>,
): Withdrawal {
  const { version, instead } = request
  const removals = releasesOf(image, request.image, version).map(({ path }) => path)
  const naming = (image?.channels ?? []).filter((one) => one.version === version)
  const channels = naming.map(({ channel }) => channel)
  const additions: Record<string, TargetEntry> = {}
  const documents: Uint8Array[] = []
  const notices: string[] = []
  if (naming.length === 0) return { removals, additions, documents, channels, notices }
  if (instead === version) throw itself(request.image, version, image)
  if (instead === undefined) throw named(request.image, version, channels)
  const next = releasesOf(image, request.image, instead)
  const releaseCounter = next[0]?.custom.releaseCounter ?? 0
  const manifests = Object.fromEntries(next.map(({ arch, manifest }) => [arch, manifest.digest]))
  for (const { channel, minReleaseCounter: floor } of naming) {
    if (releaseCounter < floor)
      throw belowFloor(`${request.image}/${instead}`, releaseCounter, channel, floor)
    const change = { image: request.image, channel, version: instead, releaseCounter, manifests }
    const { document, notices: more, targets } = describeChannel(change, image)
    Object.assign(additions, targets)
    notices.push(...more)
    if (document !== undefined) documents.push(document)
  }
  return { removals, additions, documents, channels, notices }
}

function unknownImage(name: string, catalog: Catalog): MusterError {
  const known = catalog.images().map((one) => one.name)
  return new MusterError(
    'target-not-found',
    `No image is called '${name}'${didYouMean(name, known) || `; there is ${known.join(', ') || 'none'}.`}`,
    { details: { image: name } },
  )
}

function itself(name: string, version: string, image: CatalogImage | undefined): MusterError {
  const others = [...new Set(image?.releases.map((one) => one.version))].filter((one) => one !== version)
  return new MusterError(
    'release-in-use',
    `--instead names ${version}, the version that is to be removed: name another one of ${name}${others.length > 0 ? ` (${others.join(', ')})` : ', of which none is published'}.`,
    { details: { image: name, version } },
  )
}

function releasesOf(image: CatalogImage | undefined, name: string, version: string) {
  const found = (image?.releases ?? []).filter((one) => one.version === version)
  if (found.length > 0) return found
  const known = [...new Set(image?.releases.map((one) => one.version))].join(', ') || 'none'
  throw new MusterError(
    'target-not-found',
    `${name}/${version} is not published, or was removed before; versions of ${name} that are: ${known}.`,
    { details: { image: name, version } },
  )
}

function named(image: string, version: string, channels: readonly string[]): MusterError {
  const channel =
    channels.length === 1 ? `channel ${channels[0]} names` : `channels ${channels.join(', ')} name`
  return new MusterError(
    'release-in-use',
    `${image}/${version} was not removed, because ${channel} it, and a channel always names a release: it holds the floor. Publish a newer version, or say with --instead which one it is to name.`,
    { details: { image, version, channels } },
  )
}

function belowFloor(release: string, counter: number, channel: string, floor: number): MusterError {
  return new MusterError(
    'release-below-floor',
    `${release} has the release counter ${counter}, and the floor of channel ${channel} is ${floor}: named by it, no machine would boot it. Name a newer one with --instead.`,
    { details: { release, counter, channel, floor } },
  )
}
