/** Whether a profile's wish can be met now: a misspelt image would be found by the first machine that asks for it. */

import { MusterError } from '../errors.ts'
import type { Profile } from '../machines/profiles.ts'
import { nearest } from '../nearest.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { Catalog } from '../releases/catalog.ts'
import type { BootFiles } from './files.ts'

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

/**
 * Files that a profile names and that firmware would not find now, as sentences without a full stop. Warnings: they may come later.
 *
 * @param folder the setting `files`
 */
export async function fileWarnings(
  { files, firmware, menu }: Pick<Profile, 'files' | 'firmware' | 'menu'>,
  { folder, operator }: { folder: string | undefined; operator: BootFiles['operator'] },
): Promise<string[]> {
  const named = [
    ['files.kernel', files?.kernel],
    ...(files?.initrd ?? []).map((path, index) => [`files.initrd.${index}`, path] as const),
    ['menu.memtest', menu?.memtest],
    ['firmware.deviceTree', firmware?.deviceTree],
    // A folder, of which boards take what they find: only that there is one to look in can be said.
    ['firmware.deviceTrees', folder === undefined ? firmware?.deviceTrees : undefined],
  ] as const
  const warnings: string[] = []
  for (const [member, path] of named) {
    if (path === undefined) continue
    if (folder === undefined) {
      warnings.push(
        `nothing serves ${path} (${member}) before the setting 'files' names its folder: start the server with --files DIR`,
      )
      continue
    }
    const reason = await unopened(operator, path)
    if (reason !== undefined)
      warnings.push(
        `no machine gets ${path} (${member}) out of the folder ${folder} (setting 'files'): ${reason}`,
      )
  }
  return warnings
}

async function unopened(operator: BootFiles['operator'], path: string): Promise<string | undefined> {
  try {
    await (await operator(path)).close()
    return undefined
  } catch (error) {
    if (!(error instanceof MusterError)) throw error
    return error.message.replace(/\.$/, '')
  }
}

function instead(given: string, known: readonly string[], none: string): string {
  if (known.length === 0) return `: ${none}`
  const close = nearest(given, known)
  if (close !== undefined) return ` (did you mean '${close}'?)`
  return `; there is ${known.slice(0, 8).join(', ')}${known.length > 8 ? ', …' : ''}`
}
