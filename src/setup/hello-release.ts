/** Makes the hello image for some architectures and publishes it with the keys of this server. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type BuildOptions, readImagesLock } from '../builder/agent-image.ts'
import { buildHello, writeHelloLayout } from '../builder/hello-image.ts'
import type { Config } from '../config/schema.ts'
import { openLayout } from '../oci/layout.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { Releases } from '../releases/releases.ts'
import { helloImage, helloVersion } from './first-start.ts'
import type { Paths } from './paths.ts'

/** @throws MusterError package-missing, download-failed, build-failed, and what publishing throws */
export async function publishHello(
  options: Pick<BuildOptions, 'mirrors' | 'progress' | 'signal'> & {
    architectures: readonly Arch[]
    config: Config
    paths: Paths
    releases: Releases
  },
): Promise<void> {
  const { architectures, config, paths, releases, ...build } = options
  const lock = await readImagesLock()
  // Always the same folder, so that what a killed start left is found and goes.
  const folder = join(paths.data, 'hello-in-the-making')
  await rm(folder, { recursive: true, force: true })
  try {
    const images = []
    for (const arch of architectures) {
      const outDir = join(folder, arch)
      const { hardware } = config.image
      images.push(await buildHello({ ...build, lock, arch, hardware, cacheDir: paths.cache, outDir }))
    }
    options.signal?.throwIfAborted()
    const path = join(folder, 'layout')
    await writeHelloLayout({ path, tag: helloVersion, images })
    const source = await openLayout({ path })
    await releases.publish({ source, name: { tag: helloVersion }, image: helloImage, version: helloVersion })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
