/** How fast a blob comes, and for how long: a mirror that only just sends must hold nobody. */
import type { Host } from './host.ts'
import type { Limits } from './limits.ts'

/** Attacker-controlled is what it counts, so it counts by the steady clock, pauses and new connections included. */
export type Pace = {
  count(bytes: number): void
  /** The rate of the last `mirrorSeconds`, in bytes per second, where it was below `mirrorBytesPerSecond`. */
  tooSlow(): number | undefined
}

/** Window by window and not over all: what came fast at first must not pay for a drip that follows. */
export function createPace(
  host: Pick<Host, 'now'>,
  limits: Pick<Limits, 'mirrorBytesPerSecond' | 'mirrorSeconds'>,
): Pace {
  let sinceMs = host.now()
  let bytes = 0
  return {
    count(more) {
      bytes += more
    },
    tooSlow() {
      const seconds = (host.now() - sinceMs) / 1000
      if (seconds < limits.mirrorSeconds) return undefined
      const rate = bytes / seconds
      sinceMs = host.now()
      bytes = 0
      return rate < limits.mirrorBytesPerSecond ? rate : undefined
    },
  }
}

/** For how long one blob may take, over all mirrors and tries, in milliseconds. */
export function wholeMs(size: number, limits: Pick<Limits, 'blobSeconds' | 'blobBytesPerSecond'>): number {
  return (limits.blobSeconds + size / limits.blobBytesPerSecond) * 1000
}
