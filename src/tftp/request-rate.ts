/** A token bucket for each address: a UDP source can be forged, so nobody is made to receive many answers. */
export type RequestRateOptions = { perSecond: number; burst: number; maxClients: number }

export class RequestRate {
  readonly #options: RequestRateOptions
  /** In order of last use, so that the first is the one to forget. */
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>()

  constructor(options: RequestRateOptions) {
    this.#options = options
  }

  /** Whether one more request of this address is answered now. */
  take(address: string, nowMs: number): boolean {
    const { perSecond, burst, maxClients } = this.#options
    const bucket = this.#buckets.get(address) ?? { tokens: burst, atMs: nowMs }
    this.#buckets.delete(address)
    this.#buckets.set(address, bucket)
    if (this.#buckets.size > maxClients) this.#forgetOldest()
    bucket.tokens = Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000)
    bucket.atMs = nowMs
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }

  #forgetOldest(): void {
    for (const address of this.#buckets.keys()) {
      this.#buckets.delete(address)
      return
    }
  }
}
