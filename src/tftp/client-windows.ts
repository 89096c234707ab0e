/**
 * The greatest window that each client is granted, from how its transfers went: between transfers the server may answer
 * with less than was asked (RFC 7440 §3), during one it may not send less (burst.ts). Firmware makes several transfers in
 * a row (size probe, loader, configuration, kernel), so what the first one showed helps the next.
 */
export class ClientWindows {
  readonly #maxClients: number
  /** In order of last use; only clients that cannot take the greatest window are remembered. */
  readonly #blocks = new Map<string, number>()

  constructor(options: { maxClients: number }) {
    this.#maxClients = options.maxClients
  }

  /** Blocks that this client may be granted; `most` when nothing speaks against it. */
  grant(address: string, most: number): number {
    return Math.min(most, this.#blocks.get(address) ?? most)
  }

  /** A transfer whose client asked for a window got everything, with this many blocks in a burst at the end. */
  ended(address: string, most: number, windowBlocks: number, burstBlocks: number): void {
    const before = this.#blocks.get(address)
    this.#blocks.delete(address)
    // A window that was too large for this client is not granted again; one that went well may double.
    const next = burstBlocks < windowBlocks ? burstBlocks : (before ?? most) * 2
    if (next >= most) return
    this.#blocks.set(address, next)
    if (this.#blocks.size <= this.#maxClients) return
    const [oldest] = this.#blocks.keys()
    if (oldest !== undefined) this.#blocks.delete(oldest)
  }
}
