/** Whether a profile's wish can be met now: a misspelt image would be found by the first machine that asks for it. */

import type { Profile } from '../machines/profiles.ts'
import { nearest } from '../nearest.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { Catalog } from '../releases/catalog.ts'

/**
 * What is wrong with the image that a profile names, as a sentence without a full stop; undefined when a machine would get it.
 *
 * @param catalog undefined while nothing has come from upstream yet
 */
export function imageProblem(
  { image: wish, selector }: Pick<Profile, 'image' | 'selector'>,
  catalog: Catalog | undefined,
): string | undefined {
  if (wish === undefined) return undefined
  const image = catalog?.image(wish.name)
  if (catalog === undefined || image === undefined) {
    const known = catalog?.images().map(({ name }) => name) ?? []
    return `no image is called '${wish.name}'${instead(wish.name, known, 'no image is published yet')}`
  }
  const { channel, version } = wish
  const channels = image.channels.map((one) => one.channel)
  if (channel !== undefined && !channels.includes(channel))
    return `image '${wish.name}' has no channel '${channel}'${instead(channel, channels, 'no channel names it')}`
  const versions = [...new Set(image.releases.map((one) => one.version))]
  if (version !== undefined && !versions.includes(version))
    return `image '${wish.name}' has no version '${version}'${instead(version, versions, 'no release of it is there')}`
  const current = version ?? image.channels.find((one) => one.channel === channel)?.version
  const archs = image.releases.filter((one) => one.version === current).map((one) => one.arch)
  const { arch: only } = selector
  if (only !== undefined && !archs.includes(only))
    return `${wish.name}/${current} is not there for ${only}, only for ${archs.join(', ')}`
  return bootProblem(catalog, wish, only === undefined ? archs : [only])
}

/** Floors, and content that is not all here. One architecture that boots is enough. */
function bootProblem(
  catalog: Catalog,
  { name: image, channel, version }: NonNullable<Profile['image']>,
  archs: readonly Arch[],
): string | undefined {
  const problems: string[] = []
  for (const arch of archs) {
    try {
      catalog.resolve({ image, arch, channel, version })
      return undefined
    } catch (error) {
      problems.push((error as Error).message.replace(/\.$/, ''))
    }
  }
  return problems[0]
}

function instead(given: string, known: readonly string[], none: string): string {
  if (known.length === 0) return `: ${none}`
  const close = nearest(given, known)
  if (close !== undefined) return ` (did you mean '${close}'?)`
  return `; there is ${known.slice(0, 8).join(', ')}${known.length > 8 ? ', …' : ''}`
}
