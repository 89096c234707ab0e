/** How many packets are taken: token buckets, one for each hardware address and one for all. */
import { Recent } from './recent.ts'

export class TokenBucket {
  readonly #perSecond: number
  readonly #burst: number
  #tokens: number
  #atMs = Number.NEGATIVE_INFINITY

  constructor({ perSecond, burst }: { perSecond: number; burst: number }) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#tokens = burst
  }

  take(nowMs: number): boolean {
    // A clock that was set back earns nothing.
    const earned = (Math.max(0, nowMs - this.#atMs) * this.#perSecond) / 1000
    this.#tokens = Math.min(this.#burst, this.#tokens + earned)
    this.#atMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }
}

export class PacketRate {
  readonly #options: { perSecond: number; burst: number }
  readonly #buckets: Recent<TokenBucket>

  constructor(options: { perSecond: number; burst: number; maxClients: number }) {
    this.#options = options
    this.#buckets = new Recent(options.maxClients)
  }

  take(key: string, nowMs: number): boolean {
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#options)
      this.#buckets.set(key, bucket)
    }
    return bucket.take(nowMs)
  }
}
