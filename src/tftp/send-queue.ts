/**
 * Whose blocks go out next: clients take turns, whatever number of transfers each has, so that one with many does not
 * slow down the others. Where the network or the processor is the bound, each client gets the same share.
 */
export class SendQueue<T> {
  /** Clients with something to send, in order of their turns; each has its transfers in theirs. */
  readonly #waiting = new Map<string, T[]>()

  get clients(): number {
    return this.#waiting.size
  }

  add(client: string, transfer: T): void {
    const transfers = this.#waiting.get(client)
    if (transfers === undefined) this.#waiting.set(client, [transfer])
    else transfers.push(transfer)
  }

  /**
   * Takes turns until every client that waits had one and `leastBlocks` were sent, or nothing waits. `send` gives how many
   * blocks it sent. A turn is one window: what is left waits until new datagrams were looked at, and those have their turn too.
   */
  drain(leastBlocks: number, send: (transfer: T) => number): void {
    let turns = this.#waiting.size
    let blocks = 0
    while (turns > 0 || blocks < leastBlocks) {
      const next = this.#waiting.entries().next().value
      if (next === undefined) return
      const [client, transfers] = next
      this.#waiting.delete(client)
      const transfer = transfers.shift()
      if (transfers.length > 0) this.#waiting.set(client, transfers)
      turns -= 1
      if (transfer !== undefined) blocks += send(transfer)
    }
  }
}
