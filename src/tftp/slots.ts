/** Who holds a transfer, by client address and port, and who gives way when there are too many. */
import { MusterError } from '../errors.ts'
import type { TftpLimits } from './limits.ts'
import type { Session } from './session.ts'

/** An accepted request; `session` is there once `open` has answered. */
export type Slot = {
  /** The client's address and port as the socket reports them. */
  readonly key: string
  readonly address: string
  /** To recognise the request when it comes again. */
  readonly requestBytes: Uint8Array
  session: Session | undefined
  /** Given up before its file was open. */
  dropped: boolean
}

export class Slots {
  readonly #limits: Pick<TftpLimits, 'maxTransfers' | 'maxTransfersPerClient'>
  /** In the order of arrival. */
  readonly #byKey = new Map<string, Slot>()
  readonly #perAddress = new Map<string, number>()

  constructor(limits: Pick<TftpLimits, 'maxTransfers' | 'maxTransfersPerClient'>) {
    this.#limits = limits
  }

  get size(): number {
    return this.#byKey.size
  }

  get(key: string): Slot | undefined {
    return this.#byKey.get(key)
  }

  all(): Slot[] {
    return [...this.#byKey.values()]
  }

  add(slot: Slot): void {
    this.#byKey.set(slot.key, slot)
    this.#perAddress.set(slot.address, (this.#perAddress.get(slot.address) ?? 0) + 1)
  }

  /** Does nothing when it was released before, even if its key is in use again. */
  release(slot: Slot): void {
    if (this.#byKey.get(slot.key) !== slot) return
    this.#byKey.delete(slot.key)
    const left = (this.#perAddress.get(slot.address) ?? 1) - 1
    if (left > 0) this.#perAddress.set(slot.address, left)
    else this.#perAddress.delete(slot.address)
  }

  /**
   * The slot that has to go before `address` gets one more, or undefined while there is room. A client that came and
   * went, or a forged address, holds its place for a while: who never answered, or fell silent, gives way, oldest first.
   * @throws too-many-transfers when all are at work
   */
  inTheWay(address: string): Slot | undefined {
    const { maxTransfers, maxTransfersPerClient } = this.#limits
    const ofAddress = this.#perAddress.get(address) ?? 0
    const addressFull = ofAddress >= maxTransfersPerClient
    if (!addressFull && this.size < maxTransfers) return undefined
    for (const slot of this.#byKey.values()) {
      if (addressFull && slot.address !== address) continue
      if (slot.session?.expendable === true) return slot
    }
    throw new MusterError(
      'too-many-transfers',
      addressFull
        ? `${address} already has ${ofAddress} TFTP transfers, at most ${maxTransfersPerClient} are allowed; wait for one to end or raise tftp.transfersPerClientMax`
        : `${this.size} TFTP transfers are under way, at most ${maxTransfers} are allowed; wait for one to end or raise tftp.transfersMax`,
    )
  }
}
