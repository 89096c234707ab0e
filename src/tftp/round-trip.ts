/**
 * How long to wait for an ACK, from how long ACKs took (RFC 6298 §2).
 *
 * TFTP servers wait a fixed second or more; on a LAN with 2 % loss that is where all the time goes. Samples come only from
 * blocks that were sent once (Karn): after a retransmission nobody knows which copy was acknowledged.
 */
export type RoundTripOptions = {
  /** The wait before anything was measured. */
  firstMs: number
  /** Least and greatest wait. The least covers firmware that polls its NIC at a 10 ms tick. */
  minMs: number
  maxMs: number
}

export class RoundTrip {
  readonly #options: RoundTripOptions
  #smoothedMs = 0
  #leastMs = 0
  #variationMs = 0
  #measured = false
  #doublings = 0

  constructor(options: RoundTripOptions) {
    this.#options = options
  }

  /** The shortest seen, 0 until something was measured: a whole window takes longer than a packet. */
  get leastMs(): number {
    return this.#leastMs
  }

  /** The wait for the next retransmission, doubled once for each that went unanswered. */
  get waitMs(): number {
    const { firstMs, minMs, maxMs } = this.#options
    const base = this.#measured ? Math.max(minMs, this.#smoothedMs + 4 * this.#variationMs) : firstMs
    return Math.min(maxMs, base * 2 ** this.#doublings)
  }

  /** What a smaller window would wait for its ACK: between the bursts of one window. */
  get pauseMs(): number {
    return this.#measured ? Math.min(this.#options.minMs, this.#smoothedMs) : this.#options.minMs
  }

  sample(elapsedMs: number): void {
    this.#leastMs = this.#measured ? Math.min(this.#leastMs, elapsedMs) : elapsedMs
    if (this.#measured) {
      this.#variationMs = 0.75 * this.#variationMs + 0.25 * Math.abs(this.#smoothedMs - elapsedMs)
      this.#smoothedMs = 0.875 * this.#smoothedMs + 0.125 * elapsedMs
      return
    }
    this.#measured = true
    this.#smoothedMs = elapsedMs
    this.#variationMs = elapsedMs / 2
  }

  timedOut(): void {
    this.#doublings += 1
  }

  progressed(): void {
    this.#doublings = 0
  }
}
