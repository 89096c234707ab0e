/**
 * Addresses that have shown that they see what is sent to them. A request's source can be forged, and so can the ACKs behind it;
 * only the port that an answer came from is not known to who does not get the answer. The ports that transfers share are known to
 * everybody who ever asked for a file. So an address has its transfers on ports of their own, which the system chooses among some
 * 28 000, until it has acknowledged enough there; and after a while it has to do so again.
 */

/** Each that is guessed costs as many datagrams as there are ports. */
const acksThatProve = 16
/** From the proof on, however much is asked for: a machine that is gone must not be a victim for long. */
const provenForMs = 60_000
const provenMax = 4096

export class ProvenClients {
  /** Until when, oldest first. */
  readonly #untilMs = new Map<string, number>()

  has(address: string, nowMs: number): boolean {
    return (this.#untilMs.get(address) ?? Number.NEGATIVE_INFINITY) > nowMs
  }

  /** For one transfer on a port of its own: call it with each ACK that comes there. */
  onAck(address: string, now: () => number): () => void {
    let acks = 0
    return () => {
      acks += 1
      if (acks === acksThatProve) this.#add(address, now())
    }
  }

  forget(address: string): void {
    this.#untilMs.delete(address)
  }

  #add(address: string, nowMs: number): void {
    this.#untilMs.delete(address)
    this.#untilMs.set(address, nowMs + provenForMs)
    if (this.#untilMs.size <= provenMax) return
    for (const oldest of this.#untilMs.keys()) {
      this.#untilMs.delete(oldest)
      return
    }
  }
}
