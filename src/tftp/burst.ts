/**
 * How many blocks of a window go out at once. It shrinks when a client loses what comes in one burst, and recovers slowly.
 *
 * The window itself cannot shrink during a transfer: a client acknowledges when it has counted a whole window, when a block
 * is missing, or when its own timer fires (RFC 7440 §4; EDK2 and U-Boot do exactly this). A server that sent fewer blocks and
 * waited would wait for that timer, 4 or 5 seconds a window. So the window stays and goes out in bursts, one measured round
 * trip apart, which is what a smaller window would take; a client cannot tell. Between transfers the window does shrink:
 * see client-windows.ts. With windowsize 1 (iPXE, GRUB, curl, tftp-hpa) there is nothing to shrink.
 *
 * Losses by chance must not shrink it: where 2 % of all packets are lost, a third of the windows of 16 has a gap, and
 * pauses would only cost. A client that overflows (U-Boot has four receive buffers; NIC rings of ROMs are small) loses something
 * in nearly every window. So losses and clean windows are weighed against each other (RFC 5405 §3.1 asks a sender to slow down at
 * loss that lasts); test/tftp/burst.test.ts simulates both kinds.
 */
export class Burst {
  readonly #windowBlocks: number
  #blocks: number
  #clean = 0
  #trouble = 0

  constructor(windowBlocks: number) {
    this.#windowBlocks = windowBlocks
    this.#blocks = windowBlocks
  }

  /** 1 to the window. */
  get blocks(): number {
    return this.#blocks
  }

  /** A whole window was acknowledged, and nothing of it went out twice. */
  clean(): void {
    this.#trouble = Math.max(0, this.#trouble - 1)
    this.#clean += 1
    if (this.#clean < cleanWindowsForOneMore || this.#blocks === this.#windowBlocks) return
    this.#clean = 0
    this.#blocks += 1
  }

  /** The client says that a block in the window is missing: it got later ones. */
  gap(): void {
    this.#lost(1, 3 / 4)
  }

  /** The end of a window is missing, or its ACK: the client said nothing, and the timer fired. */
  tail(): void {
    this.#lost(2, 1 / 2)
  }

  #lost(weight: number, factor: number): void {
    this.#trouble += weight
    if (this.#trouble < tooMuchTrouble) return
    this.#trouble = tooMuchTrouble / 2
    this.#clean = 0
    this.#blocks = Math.max(1, Math.floor(this.#blocks * factor))
  }
}

const cleanWindowsForOneMore = 4
const tooMuchTrouble = 4
