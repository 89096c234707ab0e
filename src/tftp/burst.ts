/**
 * How many blocks of a window go out at once. It shrinks when a client loses what comes in one burst, and recovers slowly.
 *
 * The window itself cannot shrink during a transfer: a client acknowledges when it has counted a whole window, when a block
 * is missing, or when its own timer fires (RFC 7440 §4; EDK2 and U-Boot do exactly this). A server that sent fewer blocks and
 * waited would wait for that timer, 4 or 5 seconds a window. So the window stays and goes out in bursts, one measured round
 * trip apart, which is what a smaller window would take; a client cannot tell. Between transfers the window does shrink:
 * see client-windows.ts. With windowsize 1 (iPXE, GRUB, curl, tftp-hpa) there is nothing to shrink.
 *
 * What counts as "lost in a burst" (RFC 5405 §3.1 asks a sender to slow down at loss; on a LAN a single block is lost at random,
 * and slowing down for that only costs): the end of a window is missing, so that the timer had to find it, which is what
 * U-Boot's four receive buffers and small NIC rings look like; or windows in a row had a gap.
 */
export class Burst {
  readonly #windowBlocks: number
  #blocks: number
  #clean = 0
  #gaps = 0

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
    this.#gaps = 0
    this.#clean += 1
    if (this.#clean < cleanWindowsForOneMore || this.#blocks === this.#windowBlocks) return
    this.#clean = 0
    this.#blocks += 1
  }

  /** The client says that a block in the window is missing: it got later ones. */
  gap(): void {
    this.#clean = 0
    this.#gaps += 1
    if (this.#gaps >= gapsInARow && this.#blocks > 1) this.#blocks -= 1
  }

  /** The client said nothing, and the timer fired. */
  tail(): void {
    this.#clean = 0
    this.#blocks = Math.max(1, Math.floor(this.#blocks / 2))
  }
}

const cleanWindowsForOneMore = 4
/** With 2 % random loss and windowsize 16, three in a row are one window in fifty; a client that overflows has them always. */
const gapsInARow = 3
