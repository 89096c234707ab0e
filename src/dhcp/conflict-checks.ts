/**
 * How many addresses are looked for. Each that nobody has stands in the kernel's neighbour table, unresolved for three seconds (arp(7),
 * mcast_solicit), and that table has 1024 places (gc_thresh3) for all that this machine talks to: with more looks than fit no other
 * machine on the segment gets a connection.
 */
import { TokenBucket } from '../datagram/token-bucket.ts'
import type { InUse } from './in-use.ts'
import type { DhcpLimits } from './limits.ts'

/** Counts since the start. */
export type ConflictCheckStats = {
  made: number
  /** Somebody had the address. */
  found: number
  /** Above what there may be: the client was not answered. */
  refused: number
}

export class ConflictChecks {
  readonly #inUse: InUse | undefined
  readonly #max: number
  readonly #rate: TokenBucket
  readonly #stats: ConflictCheckStats = { made: 0, found: 0, refused: 0 }
  #underWay = 0

  constructor({ inUse, limits }: { inUse: InUse | undefined; limits: DhcpLimits }) {
    this.#inUse = inUse
    this.#max = limits.maxConflictChecks
    const perSecond = limits.maxConflictChecksPerSecond
    this.#rate = new TokenBucket({ perSecond, burst: perSecond })
  }

  stats(): ConflictCheckStats {
    return { ...this.#stats }
  }

  /** Whether one more address may be looked for now: it then counts, until `isInUse` has an answer. */
  begin(nowMs: number): boolean {
    if (this.#inUse === undefined) return true
    if (this.#underWay >= this.#max || !this.#rate.take(nowMs)) {
      this.#stats.refused += 1
      return false
    }
    this.#underWay += 1
    return true
  }

  async isInUse(address: string, client: string): Promise<boolean> {
    if (this.#inUse === undefined) return false
    this.#stats.made += 1
    try {
      const found = await this.#inUse(address, client)
      if (found) this.#stats.found += 1
      return found
    } finally {
      this.#underWay -= 1
    }
  }
}
