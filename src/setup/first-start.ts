/**
 * What a start prepares when it is missing: agents and boot loaders, the hello image and its release, the profile that gives
 * it to machines. Each part fails on its own: a server without a mirror in reach serves all the same and says what it lacks.
 */
import type { Progress } from '../builder/download.ts'
import { aptMirrors } from '../builder/mirror.ts'
import type { Config } from '../config/schema.ts'
import type { ErrorCode } from '../errors.ts'
import type { ProfileInput } from '../machines/profiles.ts'
import type { Arch } from '../protocol/identifiers.ts'
import {
  loadersThere,
  makeAgents,
  makeLoaders,
  makeRaspberryPiFirmware,
  raspberryPiFirmwareThere,
  type There,
} from './agent-images.ts'
import { hasAgent } from './made-agents.ts'
import type { Once } from './once.ts'
import type { Paths } from './paths.ts'

export const helloImage = 'hello'
export const helloVersion = '1.0.0'
export const demonstrationProfile: ProfileInput = {
  name: 'demonstration',
  selector: {},
  image: { name: helloImage, channel: 'stable' },
}

/** Something that a machine would need and is not there: what, why, and the way out. */
export type Missing = {
  what: string
  code: ErrorCode
  reason: string
  /** One of an earlier start is there, and is served. */
  older?: true
}

export type FirstStart = {
  config: Config
  paths: Paths
  pin: string
  trustedRoot(): Promise<Uint8Array>
  signal: AbortSignal
  progress: Progress
  print(line: string): void
  /** Releases that are there under an image's name. */
  releasesOf(image: string): readonly { version: string; arch: Arch }[]
  publishHello(options: { architectures: readonly Arch[]; mirrors: readonly string[] }): Promise<void>
  once: Once
  hasProfiles(): Promise<boolean>
  putProfile(profile: ProfileInput): Promise<void>
}

/** A thing to prepare; `make` does nothing when it is there and up to date. */
export type Part = { what: string; there(): Promise<There>; make(): Promise<void> }

/** In the order in which they are to be made; none where the configuration says that nothing is prepared. */
export function firstStartParts(start: FirstStart): Part[] {
  const { config } = start
  if (!config.image.prepare) return []
  const announce = createAnnouncer(start.print)
  const { hardware } = config.image
  const machines = hardware === 'virtual' ? 'virtual machines' : 'real machines'
  const parts: Part[] = [
    {
      what: 'the boot agent',
      async there() {
        const found = await Promise.all(config.image.architectures.map((arch) => hasAgent(start.paths, arch)))
        return found.every((has) => has) ? 'older' : 'nothing'
      },
      async make() {
        const mirrors = await mirrorsOf(config)
        const onMake = (arch: Arch) =>
          announce(mirrors, `boot agent (${arch}, ${machines}): verifies what a machine boots`)
        await makeAgents({ ...start, trustedRoot: await start.trustedRoot(), mirrors, onMake })
      },
    },
    {
      what: 'the boot loaders',
      there: () => loadersThere(start.paths),
      async make() {
        const mirrors = await mirrorsOf(config)
        const onMake = () => announce(mirrors, 'boot loaders (iPXE): what firmware loads first')
        await makeLoaders({ ...start, mirrors, onMake })
      },
    },
  ]
  if (config.image.raspberryPi)
    parts.push({
      what: 'the firmware of Raspberry Pis',
      there: () => raspberryPiFirmwareThere(start.paths),
      async make() {
        const mirrors = await mirrorsOf(config)
        const onMake = () =>
          announce(mirrors, 'firmware of Raspberry Pis (raspi-firmware): what a Pi 3 or 4 loads first')
        await makeRaspberryPiFirmware({ ...start, mirrors, onMake })
      },
    })
  if (config.releases.upstream === undefined)
    parts.push({
      what: 'the hello image',
      async there() {
        const lacking = lackingHello(start.releasesOf(helloImage), config.image.architectures)
        return lacking.length === 0 ? 'current' : 'nothing'
      },
      make: () => prepareHello(start, announce),
    })
  return parts
}

function mirrorsOf(config: Config): Promise<string[]> | string[] {
  return config.mirror === undefined ? aptMirrors() : [config.mirror.replace(/\/+$/, '')]
}

type Announce = (mirrors: readonly string[], what: string) => void

/** Says once where it all comes from, and then what is being made, and for what. */
function createAnnouncer(print: (line: string) => void): Announce {
  let begun = false
  return ([mirror = 'no mirror'], what) => {
    if (!begun) print(`Preparing what machines boot, once, from Debian packages of ${mirror}:`)
    begun = true
    print(`  ${what}`)
  }
}

async function prepareHello(start: FirstStart, announce: Announce): Promise<void> {
  const { config, once } = start
  const architectures = lackingHello(start.releasesOf(helloImage), config.image.architectures)
  if (architectures.length > 0) {
    const mirrors = await mirrorsOf(config)
    const names = architectures.join(', ')
    announce(
      mirrors,
      `hello image (${names}): a small system to try a boot with, signed with this server's keys`,
    )
    await start.publishHello({ architectures, mirrors })
  }
  // Given once: whoever removes the profile does not want it back at the next start.
  if (await once.isDone('demonstration')) return
  if (!(await start.hasProfiles())) {
    await start.putProfile(demonstrationProfile)
    start.print(`  profile '${demonstrationProfile.name}': every machine boots the ${helloImage} image`)
  }
  await once.done('demonstration')
}

/**
 * Architectures that our hello image is to be made for. A person may have published another one under its name: then ours
 * would take the channel from it.
 */
function lackingHello(
  there: readonly { version: string; arch: Arch }[],
  wanted: readonly Arch[],
): readonly Arch[] {
  if (there.length === 0) return wanted
  const ours = there.filter(({ version }) => version === helloVersion)
  if (ours.length === 0) return []
  return wanted.filter((arch) => !ours.some((release) => release.arch === arch))
}
