/**
 * Preparation beside a server that listens already. Until it is over, what is being made counts as missing:
 *
 *     created ── run() ──▶ under way ──▶ over, with what could not be made
 *                              └─ dispose ──▶ stopped: downloads are left where they are, for the next start
 */
import { readImagesLock } from '../builder/agent-image.ts'
import type { Config } from '../config/schema.ts'
import { errorCodeOf } from '../errors.ts'
import type { Machines } from '../machines/machines.ts'
import type { Releases } from '../releases/releases.ts'
import type { There } from './agent-images.ts'
import type { Commands } from './commands.ts'
import { firstStartParts, type Missing } from './first-start.ts'
import { preparedLines } from './greeting.ts'
import { publishHello } from './hello-release.ts'
import type { Once } from './once.ts'
import type { Paths } from './paths.ts'
import { createProgressLines } from './progress-lines.ts'

export type Preparation = AsyncDisposable & {
  /** What machines would need and is not there at this moment, with what is still being made. */
  missing(): Missing[]
  /** To be called once. Resolves when it is over, whether everything could be made or not, or stopped; never rejects. */
  run(): Promise<void>
}

export type PreparationOptions = {
  config: Config
  paths: Paths
  releases: Releases
  machines: Machines
  once: Once
  pin: string
  now: () => Date
  print(line: string): void
  commands: Commands
}

/** Looks at what is there of earlier starts, and makes nothing yet. */
export async function createPreparation(options: PreparationOptions): Promise<Preparation> {
  const { commands, config, machines, now, once, paths, pin, print, releases } = options
  const stop = new AbortController()
  const { signal } = stop
  let told = false
  const tell = (line: string) => {
    told = true
    if (!signal.aborted) print(line)
  }
  const progress = createProgressLines(tell)
  const parts = firstStartParts({
    ...{ config, once, paths, pin, progress, signal },
    print: tell,
    trustedRoot: () => releases.trustedRoot(),
    releasesOf: (image) => releases.catalog().image(image)?.releases ?? [],
    publishHello: (request) => publishHello({ ...request, config, paths, progress, releases, signal }),
    hasProfiles: async () => (await machines.profiles.list()).length > 0,
    async putProfile(profile) {
      await machines.profiles.put(profile)
    },
  })
  const before = new Map<string, There>()
  // What cannot be looked at is said when it is made.
  for (const { there, what } of parts) before.set(what, await there().catch(() => 'nothing' as const))
  const older = (what: string) => (before.get(what) === 'nothing' ? {} : { older: true as const })
  const underWay = new Set(parts.flatMap(({ what }) => (before.get(what) === 'current' ? [] : [what])))
  const failed: Missing[] = []
  /** No time before it can be true. */
  let lockDate: string | undefined
  let running = Promise.resolve()

  const missing = () => [
    ...(lockDate === undefined ? [] : clockBehind(now(), lockDate)),
    ...failed,
    ...[...underWay].map((what) => beingMade(what, older(what))),
  ]

  async function prepare(): Promise<void> {
    // A lock that cannot be read is said by the parts that are made from it.
    lockDate = await readImagesLock().then(
      ({ date }) => date,
      () => undefined,
    )
    for (const { what, make } of parts) {
      await attempt(what, make)
      if (signal.aborted) return
      underWay.delete(what)
    }
    for (const line of preparedLines({ missing: missing(), made: told, commands })) print(line)
  }

  async function attempt(what: string, make: () => Promise<void>): Promise<void> {
    try {
      await make()
    } catch (error) {
      if (!signal.aborted)
        failed.push({ what, code: errorCodeOf(error), reason: (error as Error).message, ...older(what) })
    }
  }

  return {
    missing,
    run() {
      running = prepare()
      return running
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

function beingMade(what: string, older: Pick<Missing, 'older'>): Missing {
  const reason =
    older.older === undefined
      ? "It is being made; 'muster status' says when it is there."
      : 'It is made again where it is not up to date; until then the one of an earlier start is served.'
  return { what, code: 'preparing', reason, ...older }
}

function clockBehind(now: Date, lockDate: string): Missing[] {
  if (now.getTime() >= Date.parse(lockDate)) return []
  const reason = `This machine's clock says ${now.toISOString()}, and its packages are of ${lockDate}: what is signed now has expired for every machine. Set the clock (timedatectl set-ntp true) and start again.`
  return [{ what: 'the right time', code: 'clock-behind', reason }]
}
