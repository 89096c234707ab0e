/** What a server does by the clock: sign again at half-life, follow upstream, end silent boots, forget stale partials. */
import type { Config } from '../config/schema.ts'
import { errorCodeOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Machines } from '../machines/machines.ts'
import type { Releases } from '../releases/releases.ts'
import type { BlobStore } from '../store/blobs.ts'

const minuteMs = 60_000
const stalePartialMs = 7 * 86_400_000

export function startTimers(options: {
  config: Config
  machines: Machines
  releases: Releases
  blobs: BlobStore
  log: Log
}): AsyncDisposable {
  const { blobs, config, log, machines, releases } = options
  const follows = config.releases.upstream !== undefined
  const underWay = new Set<Promise<void>>()

  /** Runs `work` now and then every so often; a round that is still under way is not begun again. */
  function every(ms: number, what: string, work: () => Promise<unknown>): NodeJS.Timeout {
    let running = false
    const round = () => {
      if (running) return
      running = true
      const done = work()
        .then(() => {})
        .catch((error: unknown) =>
          log.error({ err: error, code: errorCodeOf(error) }, `${what} failed; the next round tries again`),
        )
        .finally(() => {
          running = false
          underWay.delete(done)
        })
      underWay.add(done)
    }
    round()
    return setInterval(round, ms)
  }

  const timers = [
    every(minuteMs, 'ending silent boots', () => machines.sweep()),
    every(60 * minuteMs, 'forgetting stale partial downloads', () =>
      blobs.removeStale({ maxAgeMs: stalePartialMs }),
    ),
    follows
      ? every(config.releases.pollSeconds * 1000, 'following upstream', () => releases.sync())
      : every(minuteMs, 'signing metadata again', async () => {
          const { warnings } = await releases.resignDue()
          for (const warning of warnings) log.warn({ warning }, 'metadata expires and its key is not here')
        }),
  ]
  return {
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearInterval(timer)
      await Promise.allSettled(underWay)
    },
  }
}
