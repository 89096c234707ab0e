/**
 * What a start prepares when it is missing: agents and boot loaders, the hello image and its release, the profile that gives
 * it to machines. Each part fails on its own: a server without a mirror in reach starts all the same and says what it lacks.
 */
import { access, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readImagesLock } from '../builder/agent-image.ts'
import type { Progress } from '../builder/download.ts'
import { buildHello, writeHelloLayout } from '../builder/hello-image.ts'
import { aptMirrors } from '../builder/mirror.ts'
import type { Config } from '../config/schema.ts'
import { errorCodeOf } from '../errors.ts'
import type { ProfileInput } from '../machines/profiles.ts'
import { makeAgents, makeLoaders } from './agent-images.ts'
import type { Paths } from './paths.ts'

export const helloImage = 'hello'
export const helloVersion = '1.0.0'
export const demonstrationProfile: ProfileInput = {
  name: 'demonstration',
  selector: {},
  image: { name: helloImage, channel: 'stable' },
}

/** Something that could not be prepared: what, why, and what follows from it. */
export type Missing = { what: string; code: string; reason: string }

export type FirstStart = {
  config: Config
  paths: Paths
  pin: string
  trustedRoot: Uint8Array
  progress: Progress
  print(line: string): void
  hasImage(name: string): boolean
  /** Publishes what a layout folder holds under `<image>/<version>`, with the keys of this server. */
  publishLayout(folder: string, image: string, version: string): Promise<void>
  hasProfiles(): Promise<boolean>
  putProfile(profile: ProfileInput): Promise<void>
}

/** Resolves with what is missing afterwards; empty when everything is there. */
export async function prepareFirstStart(start: FirstStart): Promise<Missing[]> {
  const { config, paths } = start
  if (!config.image.prepare) return []
  const mirrors = config.mirror === undefined ? await aptMirrors() : [config.mirror.replace(/\/+$/, '')]
  const lock = await readImagesLock()
  const common = { paths, mirrors, progress: start.progress }
  const say = createAnnouncer(start.print, mirrors)
  const missing: Missing[] = []
  const attempt = async (what: string, make: () => Promise<unknown>) => {
    try {
      await make()
    } catch (error) {
      missing.push({ what, code: errorCodeOf(error), reason: (error as Error).message })
    }
  }

  const { hardware } = config.image
  const machines = hardware === 'virtual' ? 'virtual machines' : 'real machines'
  await attempt('the boot agent', () =>
    makeAgents({
      ...start,
      ...common,
      timeFloor: lock.date,
      onMake: (arch) => say(`boot agent (${arch}, ${machines}): verifies what a machine boots`),
    }),
  )
  await attempt('the boot loaders', () =>
    makeLoaders({ ...common, onMake: () => say('boot loaders (iPXE): what firmware loads first') }),
  )
  if (config.releases.upstream === undefined) {
    await attempt('the hello image', () => prepareHello(start, mirrors, say))
  }
  return missing
}

/** Says once where it all comes from, and then what is being made, and for what. */
function createAnnouncer(print: (line: string) => void, mirrors: readonly string[]) {
  let begun = false
  return (what: string) => {
    if (!begun)
      print(`Preparing what machines boot, once, from Debian packages of ${mirrors[0] ?? 'no mirror'}:`)
    begun = true
    print(`  ${what}`)
  }
}

async function prepareHello(
  start: FirstStart,
  mirrors: readonly string[],
  say: (what: string) => void,
): Promise<void> {
  const { config, paths } = start
  if (!start.hasImage(helloImage)) {
    say('hello image: a small system to try a boot with, signed with the keys of this server')
    const folder = await mkdtemp(join(paths.data, 'hello-'))
    try {
      const images = []
      for (const arch of config.image.architectures) {
        const outDir = join(folder, arch)
        images.push(
          await buildHello({
            arch,
            hardware: config.image.hardware,
            mirrors,
            cacheDir: paths.cache,
            outDir,
            progress: start.progress,
          }),
        )
      }
      const layout = join(folder, 'layout')
      await writeHelloLayout({ path: layout, tag: helloVersion, images })
      await start.publishLayout(layout, helloImage, helloVersion)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  if (!(await start.hasProfiles())) {
    await start.putProfile(demonstrationProfile)
    start.print(`  profile '${demonstrationProfile.name}': every machine boots the ${helloImage} image`)
  }
}

/** Whether an agent for this architecture can be loaded. */
export async function hasAgent(paths: Paths, arch: string): Promise<boolean> {
  try {
    await access(join(paths.boot, 'agent', arch, 'initramfs'))
    await access(join(paths.boot, 'agent', arch, 'kernel'))
    return true
  } catch {
    return false
  }
}
