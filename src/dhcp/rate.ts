/** Token buckets by hardware address, and one for all. */
export class PacketRate {
  readonly #perSecond: number
  readonly #burst: number
  readonly #maxClients: number
  /** In order of last use, so that the first is the one to forget. */
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>()

  constructor(options: { perSecond: number; burst: number; maxClients: number }) {
    this.#perSecond = options.perSecond
    this.#burst = options.burst
    this.#maxClients = options.maxClients
  }

  get size(): number {
    return this.#buckets.size
  }

  take(key: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(key) ?? { tokens: this.#burst, atMs: nowMs }
    this.#buckets.delete(key)
    this.#buckets.set(key, bucket)
    if (this.#buckets.size > this.#maxClients)
      this.#buckets.delete(this.#buckets.keys().next().value as string)
    // A clock that was set back earns nothing.
    const earned = (Math.max(0, nowMs - bucket.atMs) * this.#perSecond) / 1000
    bucket.tokens = Math.min(this.#burst, bucket.tokens + earned)
    bucket.atMs = nowMs
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }
}
