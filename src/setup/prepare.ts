/** Runs the first start's preparation with the server's own parts, and shows how far it is. */
import type { Config } from '../config/schema.ts'
import { errorCodeOf } from '../errors.ts'
import type { Machines } from '../machines/machines.ts'
import { openLayout } from '../oci/layout.ts'
import type { Releases } from '../releases/releases.ts'
import { type Missing, prepareFirstStart } from './first-start.ts'
import type { Paths } from './paths.ts'
import { createProgressLines } from './progress-lines.ts'

export async function prepareServer(options: {
  config: Config
  paths: Paths
  releases: Releases
  machines: Machines
  pin: string
  print(line: string): void
}): Promise<Missing[]> {
  const { config, machines, paths, pin, print, releases } = options
  let trustedRoot: Uint8Array
  try {
    trustedRoot = await releases.trustedRoot()
  } catch (error) {
    return [{ what: 'the trusted root', code: errorCodeOf(error), reason: (error as Error).message }]
  }
  return prepareFirstStart({
    config,
    paths,
    pin,
    trustedRoot,
    print,
    progress: createProgressLines(print),
    hasImage: (name) => releases.catalog().image(name) !== undefined,
    async publishLayout(folder, image, version) {
      const source = await openLayout({ path: folder })
      await releases.publish({ source, name: { tag: version }, image, version })
    },
    hasProfiles: async () => (await machines.profiles.list()).length > 0,
    async putProfile(profile) {
      await machines.profiles.put(profile)
    },
  })
}
