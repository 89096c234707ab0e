/**
 * One read transfer as a pure state machine (RFC 1350, 2347, 7440): what happened and the time go in, what to send and
 * when to wake up come out. Blocks are counted without wrapping here; only packets have 16 bits.
 *
 *                    start() with options                          start() without
 *                             │ OACK                                      │ DATA 1…
 *                             ▼              acknowledged(0)              ▼
 *                        negotiating ──────────────────────────────▶  sending ──┐ acknowledged(n): the next window
 *                             │ ▲ wake(): OACK again                    │ ▲ ▲───┘ loaded(): blocks that waited for the disk
 *                             │ └─┘ at most 3 times                     │ └─┘ wake(): the window again, waiting twice as long;
 *                             │                                         │         at most 3 times before anything is acknowledged
 *       clientError(): probed │ wake() too often: timed-out             │
 *                             ▼                                         ▼ acknowledged(last): completed
 *                           ended ◀──────────────────────────────────── clientError(): aborted
 *                                                                       wake() too often: unconfirmed | timed-out
 *
 * What keeps a doubled packet from doubling everything after it (the "sorcerer's apprentice", RFC 1123 §4.2.3.1):
 * - Windowsize 1: an ACK that acknowledges nothing new sends nothing.
 * - Windowsize above 1: an ACK inside the window means that the next block was lost, and the window starts again behind
 *   it (RFC 7440 §4), but once: EDK2 repeats that ACK for each block that arrives out of order. And not when the ACK
 *   answers blocks that we doubled ourselves: clients acknowledge those too, and each such ACK, believed, doubles
 *   the next window. The simulation in test/tftp/transfer.test.ts shows twice the traffic without these exceptions.
 */
import { Burst } from './burst.ts'
import { RoundTrip } from './round-trip.ts'

/**
 * `probed`: the client wanted only the size, and said so with an ERROR after the OACK. `unconfirmed`: everything was
 * sent, only the ACK of the end never came; many clients leave at that point, so it counts as a success.
 */
export type Outcome = 'completed' | 'unconfirmed' | 'probed' | 'aborted' | 'timed-out'

export type Step = {
  send: 'nothing' | 'oack' | 'blocks'
  /** With `blocks`: the first and the last to send, counted from 1. */
  first: number
  last: number
  /** Call `wake` at this time. A later step replaces it. */
  wakeAtMs: number
  ended: Outcome | undefined
}

export type TransferOptions = {
  /** Whether an OACK goes first. */
  negotiates: boolean
  windowBlocks: number
  firstRetransmitMs: number
  minRetransmitMs: number
  maxRetransmitMs: number
  /** Without anything new from the client for this long, it is given up. */
  giveUpAfterMs: number
}

export class Transfer {
  readonly #options: TransferOptions
  readonly #roundTrip: RoundTrip
  readonly #burst: Burst
  #state: 'negotiating' | 'sending' | 'ended' = 'sending'
  /** The lowest block that is not acknowledged, the next to send, the highest that was ever sent. */
  #base = 1
  #next = 1
  #highest = 0
  /** Blocks that can be sent now, and the number of the last one once it is known. */
  #loaded = 0
  #last = Number.POSITIVE_INFINITY
  /** Whether the window at #base was sent again already because of an ACK. */
  #wentBack = false
  /** Whether anything of the window at #base went out twice. */
  #resent = false
  /** When the rest of the window goes out, while a burst of it is under way; else 0. */
  #restAtMs = 0
  /** The highest block when the last step back was made, and the highest that was ever sent twice. */
  #backFrom = 0
  #resentTo = 0
  #windowSentAtMs = 0
  #progressAtMs = 0
  #wakeAtMs = Number.POSITIVE_INFINITY
  /** The block whose first sending is being timed; 0 is the OACK, undefined is none. */
  #timedBlock: number | undefined
  #timedAtMs = 0
  #retransmittedBlocks = 0
  #unansweredRepeats = 0

  constructor(options: TransferOptions) {
    this.#options = options
    this.#roundTrip = new RoundTrip({
      firstMs: options.firstRetransmitMs,
      minMs: options.minRetransmitMs,
      maxMs: options.maxRetransmitMs,
    })
    this.#burst = new Burst(options.windowBlocks)
  }

  /** Blocks that this client takes at once, by now: the window, or less after losses. */
  get burstBlocks(): number {
    return this.#burst.blocks
  }

  /** The lowest block that may still be needed; all below it can be forgotten. */
  get base(): number {
    return this.#base
  }

  get retransmittedBlocks(): number {
    return this.#retransmittedBlocks
  }

  /** Whether the client acknowledged anything: until then its address may be forged. */
  get answered(): boolean {
    return this.#state !== 'negotiating' && (this.#base > 1 || this.#options.negotiates)
  }

  /** How long the client has not got further. */
  stalledMs(nowMs: number): number {
    return nowMs - this.#progressAtMs
  }

  start(nowMs: number): Step {
    this.#progressAtMs = nowMs
    if (!this.#options.negotiates) return this.#fill(nowMs)
    this.#state = 'negotiating'
    this.#timedBlock = 0
    this.#timedAtMs = nowMs
    return this.#sendOack(nowMs)
  }

  /** Blocks 1 to `count` can be sent; `last` is the file's last block where that is known by now. */
  loaded(count: number, last: number | undefined, nowMs: number): Step {
    this.#loaded = count
    if (last !== undefined) this.#last = last
    return this.#state === 'sending' ? this.#fill(nowMs) : this.#rest()
  }

  /** An ACK with its 16-bit block number. */
  acknowledged(block16: number, nowMs: number): Step {
    if (this.#state === 'negotiating') return block16 === 0 ? this.#optionsAccepted(nowMs) : this.#rest()
    if (this.#state === 'ended') return this.#rest()
    const before = this.#base - 1
    // The nearest block with these low 16 bits: a window is far smaller than half of the 65 536.
    const block = before + (((block16 - before) << 16) >> 16)
    if (block < before || block > this.#highest) return this.#rest()
    if (block === before) return this.#acknowledgedAgain(nowMs)
    return this.#acknowledgedNew(block, nowMs)
  }

  /** The time of `wakeAtMs`, or later. Earlier calls do nothing. */
  wake(nowMs: number): Step {
    if (this.#state === 'ended' || nowMs < this.#wakeAtMs) return this.#rest()
    if (nowMs - this.#progressAtMs >= this.#options.giveUpAfterMs)
      return this.#end(this.#awaitsOnlyTheEnd() ? 'unconfirmed' : 'timed-out')
    if (this.#restAtMs > 0) {
      this.#restAtMs = 0
      return this.#fill(nowMs)
    }
    this.#roundTrip.timedOut()
    if (!this.answered && this.#unansweredRepeats === mostUnansweredRepeats) return this.#onlyListen()
    if (!this.answered) this.#unansweredRepeats += 1
    if (this.#state === 'negotiating') {
      this.#timedBlock = undefined
      return this.#sendOack(nowMs)
    }
    // The first time only: a client that is gone says nothing of the window.
    if (!this.#resent && this.#next > this.#base) this.#burst.tail()
    return this.#goBack(nowMs)
  }

  /** The request came a second time: the answer to the first was lost, or the request was doubled on its way. */
  requestedAgain(nowMs: number): Step {
    if (this.answered || this.#state === 'ended') return this.#rest()
    this.#timedBlock = undefined
    return this.#state === 'negotiating' ? this.#sendOack(nowMs) : this.#goBack(nowMs)
  }

  /** An ERROR from the client. Right after the OACK it is how EDK2 asks for a size (code 8) and others too (code 0). */
  clientError(): Step {
    return this.#end(this.#state === 'negotiating' ? 'probed' : 'aborted')
  }

  #optionsAccepted(nowMs: number): Step {
    this.#state = 'sending'
    this.#progress(0, nowMs)
    return this.#fill(nowMs)
  }

  /** The block before the window once more: the client timed out, or the window's first block was lost. */
  #acknowledgedAgain(nowMs: number): Step {
    if (this.#options.windowBlocks === 1 || this.#wentBack || this.#next === this.#base) return this.#rest()
    // Blocks before the window that went out twice are acknowledged twice; if there was a loss too, the timer finds it.
    if (this.#base - 1 <= this.#resentTo || this.#tooSoon(nowMs)) return this.#rest()
    this.#burst.gap()
    return this.#goBack(nowMs)
  }

  #acknowledgedNew(block: number, nowMs: number): Step {
    const inside = block < this.#next - 1
    const isWindow = block - this.#base + 1 === this.#options.windowBlocks
    if (isWindow && !this.#resent) this.#burst.clean()
    this.#progress(block, nowMs)
    this.#base = block + 1
    this.#wentBack = false
    this.#resent = false
    if (block === this.#last) return this.#end('completed')
    // Exactly what it could have before we stepped back: it missed nothing, and answers the doubled blocks.
    if (inside && block !== this.#backFrom && !this.#tooSoon(nowMs)) {
      this.#burst.gap()
      return this.#goBack(nowMs)
    }
    if (!inside) {
      this.#next = this.#base
      this.#restAtMs = 0
    }
    return this.#fill(nowMs)
  }

  /** Sooner than a packet gets there and back: not an answer to what was sent last. */
  #tooSoon(nowMs: number): boolean {
    return nowMs - this.#windowSentAtMs < this.#roundTrip.leastMs / 2
  }

  #progress(block: number, nowMs: number): void {
    if (this.#timedBlock !== undefined && block >= this.#timedBlock) {
      this.#roundTrip.sample(nowMs - this.#timedAtMs)
      this.#timedBlock = undefined
    }
    this.#roundTrip.progressed()
    this.#progressAtMs = nowMs
  }

  /** The window again, from its first unacknowledged block. */
  #goBack(nowMs: number): Step {
    this.#wentBack = true
    this.#resent = true
    this.#restAtMs = 0
    this.#backFrom = this.#highest
    this.#timedBlock = undefined
    this.#next = this.#base
    return this.#fill(nowMs)
  }

  /** As much of the window as is loaded and not sent since the last step back, and goes out at once. */
  #fill(nowMs: number): Step {
    if (this.#restAtMs > 0) return this.#rest()
    const first = this.#next
    const end = Math.min(this.#base + this.#options.windowBlocks - 1, this.#last)
    const last = Math.min(end, this.#loaded, first + this.#burst.blocks - 1)
    if (last < first) {
      // Nothing is out and the disk has not delivered: only the give-up time runs.
      if (first === this.#base) this.#wakeAtMs = this.#progressAtMs + this.#options.giveUpAfterMs
      return this.#rest()
    }
    if (first <= this.#highest) {
      this.#resentTo = Math.max(this.#resentTo, Math.min(last, this.#highest))
      this.#retransmittedBlocks += Math.min(last, this.#highest) - first + 1
    } else if (
      this.#timedBlock === undefined &&
      (last === end || this.#burst.blocks === this.#options.windowBlocks)
    ) {
      // Of a window in bursts only the last is timed: its end is what the client acknowledges.
      this.#timedBlock = last
      this.#timedAtMs = nowMs
    }
    this.#next = last + 1
    this.#highest = Math.max(this.#highest, last)
    this.#windowSentAtMs = nowMs
    this.#wakeAtMs = nowMs + this.#roundTrip.waitMs
    if (last < Math.min(end, this.#loaded)) {
      this.#restAtMs = nowMs + this.#roundTrip.pauseMs
      this.#wakeAtMs = this.#restAtMs
    }
    return { send: 'blocks', first, last, wakeAtMs: this.#wakeAtMs, ended: undefined }
  }

  #sendOack(nowMs: number): Step {
    this.#wakeAtMs = nowMs + this.#roundTrip.waitMs
    return { ...this.#rest(), send: 'oack' }
  }

  /** Until it is given up: a client that is there asks again, or answers one of those that it has. */
  #onlyListen(): Step {
    this.#wakeAtMs = this.#progressAtMs + this.#options.giveUpAfterMs
    return this.#rest()
  }

  #rest(): Step {
    return { send: 'nothing', first: 0, last: 0, wakeAtMs: this.#wakeAtMs, ended: undefined }
  }

  #end(outcome: Outcome): Step {
    this.#state = 'ended'
    this.#wakeAtMs = Number.POSITIVE_INFINITY
    return { ...this.#rest(), ended: outcome }
  }

  #awaitsOnlyTheEnd(): boolean {
    return this.#state === 'sending' && this.#highest === this.#last
  }
}

/** Whoever forges an address sends one request; what is sent to that address on our own account has to be little. */
const mostUnansweredRepeats = 3
