/** How many packets of one hardware address are taken. */
import { TokenBucket } from '../datagram/token-bucket.ts'
import { Recent } from './recent.ts'

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
