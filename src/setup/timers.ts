/** What a server does by the clock: sign again at half-life, follow upstream, say which boots stand still, end silent ones, forget stale partials. */
import type { Config } from '../config/schema.ts'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Machines } from '../machines/machines.ts'
import type { Releases } from '../releases/releases.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { Ports } from './listeners.ts'
import { expectedMsOf, stallFactsOf } from './stalls.ts'

const minuteMs = 60_000
/** A person who waits beside a machine looks again after so long. */
const stallRoundMs = 10_000
const stalePartialMs = 7 * 86_400_000

export function startTimers(options: {
  config: Config
  machines: Machines
  releases: Releases
  blobs: BlobStore
  ports: Ports
  log: Log
  /** Milliseconds since 1970. */
  now: () => number
}): AsyncDisposable {
  const { blobs, config, log, machines, now, ports, releases } = options
  const follows = config.releases.upstream !== undefined
  const underWay = new Set<Promise<void>>()
  const stop = new AbortController()

  /** Runs `work` now and then every so often; a round that is still under way is not begun again. */
  function every(ms: number, what: string, work: () => Promise<unknown>): NodeJS.Timeout {
    let running = false
    const round = () => {
      if (running) return
      running = true
      const done = work()
        .then(() => {})
        .catch((error: unknown) => {
          if (stop.signal.aborted) return
          log.error(loggable(error), `${what} failed; the next round tries again`)
        })
        .finally(() => {
          running = false
          underWay.delete(done)
        })
      underWay.add(done)
    }
    round()
    return setInterval(round, ms)
  }

  let dueMs = 0
  /** Asked every minute, because a timer of twelve hours would sleep on while the machine was suspended. */
  async function signAgain(): Promise<void> {
    if (now() < dueMs) return
    const { nextDueMs, warnings } = await releases.resignDue()
    dueMs = nextDueMs
    for (const { role, expires, sentence } of warnings) log.warn({ role, expires }, sentence)
    const expired = releases.expired()
    if (expired !== undefined) log.error({ code: expired.code }, expired.message)
  }

  const timers = [
    every(minuteMs, 'ending silent boots', () => machines.sweep()),
    every(stallRoundMs, 'looking for boots that stand still', () =>
      machines.sweepStalled({ expectedMs: expectedMsOf(config), facts: stallFactsOf(config, ports) }),
    ),
    every(60 * minuteMs, 'forgetting stale partial downloads', () =>
      blobs.removeStale({ maxAgeMs: stalePartialMs }),
    ),
    follows
      ? every(config.releases.pollSeconds * 1000, 'following upstream', () =>
          // An upstream that is away is tried for a while; nobody waits for that when the server stops.
          releases.sync({ signal: stop.signal }),
        )
      : every(minuteMs, 'signing metadata again', signAgain),
  ]
  return {
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearInterval(timer)
      stop.abort()
      await Promise.allSettled(underWay)
    },
  }
}

/** Our own errors are sentences and say everything; what nobody foresaw comes with its stack. */
function loggable(error: unknown): object {
  if (error instanceof MusterError) return { code: error.code, reason: error.message }
  return { code: 'internal', err: error }
}
