/** One transfer at work: feeds its state machine from a line, a file and a clock, and does what it says. */
import { MusterError } from '../errors.ts'
import type { Blocks, Engine, Line, Timer } from './engine.ts'
import { toErrorPacket } from './error-packet.ts'
import type { TftpFile } from './file.ts'
import type { TftpLimits } from './limits.ts'
import { negotiate } from './negotiation.ts'
import { encodePacket, opcodes, type TftpOptions } from './packet.ts'
import { ReadAhead } from './read-ahead.ts'
import { type Outcome, type Step, Transfer } from './transfer.ts'

export type SessionEnd = {
  outcome: Outcome | 'failed' | 'cancelled'
  blockBytes: number
  windowBlocks: number
  /** Blocks that went out at once in the end: fewer than the window where the client lost them. */
  burstBlocks: number
  blocks: number
  retransmittedBlocks: number
  /** With `failed`: why. */
  error?: unknown
}

export type SessionOptions = {
  /** The client's; what comes through `line` is from there. */
  family: 'IPv4' | 'IPv6'
  line: Line
  engine: Engine
  file: TftpFile
  mode: 'octet' | 'netascii'
  options: TftpOptions
  limits: TftpLimits
  /** There are blocks to send: call `send` when it is this client's turn. */
  onReady: () => void
  /** Called once, after the line and the file are closed. */
  onEnd: (end: SessionEnd) => void
}

/** IP, UDP and TFTP headers before a block's data. */
const headerBytes = { IPv4: 20 + 8 + 4, IPv6: 40 + 8 + 4 }

export class Session {
  readonly #options: SessionOptions
  readonly #transfer: Transfer
  readonly #content: Blocks
  readonly #oack: Uint8Array | undefined
  readonly #blockBytes: number
  readonly #windowBlocks: number
  #blocks = 0
  /** Blocks to send, the first and the last; none when the last is below the first. */
  #first = 1
  #last = 0
  #timer: Timer | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #ended = false
  #finished: Promise<void> | undefined

  constructor(options: SessionOptions) {
    this.#options = options
    const { family, limits, file, line, mode } = options
    const agreed = negotiate(options.options, mode === 'octet' ? file.size : undefined, {
      maxBlockBytes: Math.min(65_464, Math.max(8, limits.mtuBytes - headerBytes[family])),
      maxWindowBlocks: limits.maxWindowBlocks,
      maxWindowBytes: limits.maxWindowBytes,
    })
    this.#blockBytes = agreed.blockBytes
    this.#windowBlocks = agreed.windowBlocks
    this.#oack = agreed.granted.size > 0 ? encodePacket({ op: 'oack', options: agreed.granted }) : undefined
    this.#transfer = new Transfer({
      negotiates: this.#oack !== undefined,
      windowBlocks: agreed.windowBlocks,
      // RFC 2349: the client's timeout bounds ours. A measured round trip makes it shorter, and never longer.
      firstRetransmitMs: agreed.timeoutMs ?? limits.firstRetransmitMs,
      minRetransmitMs: limits.minRetransmitMs,
      maxRetransmitMs: agreed.timeoutMs ?? limits.maxRetransmitMs,
      giveUpAfterMs: Math.max(limits.giveUpAfterMs, 3 * (agreed.timeoutMs ?? 0)),
    })
    const mapped = mode === 'octet' ? line.map(file, agreed.blockBytes) : undefined
    this.#content =
      mapped ??
      new ReadAhead({
        file,
        line,
        mode,
        blockBytes: agreed.blockBytes,
        windowBlocks: agreed.windowBlocks,
        stripBytes: limits.stripBytes,
        onLoaded: () => this.#loaded(),
        onFailed: (error) => this.fail(error),
      })
  }

  /** Whether it may be given up for a new client: nothing was ever acknowledged, or the client has fallen silent. */
  get expendable(): boolean {
    return !this.#transfer.answered || this.#silent
  }

  /** Whether a repeated request is a new beginning: this transfer had got somewhere, and then the client fell silent. */
  get startedOver(): boolean {
    return this.#transfer.answered && this.#silent
  }

  /** A ROM that unpacks or writes what it got may pause for a while: that is not silence yet. */
  get #silent(): boolean {
    return this.#transfer.stalledMs(this.#options.engine.now()) >= this.#options.limits.firstRetransmitMs
  }

  start(): void {
    this.#do(this.#transfer.start(this.#options.engine.now()))
    // With an OACK the file waits for ACK 0: who only asks for the size, or forged the address, costs no read.
    if (this.#oack === undefined) this.#content.want(1)
    // A mapped file is all there already, and nothing was read for it.
    if (this.#content.loadedBlocks > 0) this.#tellLoaded()
  }

  /** A datagram of the client; attacker-controlled, for its address can be forged. */
  receive(bytes: Uint8Array): void {
    if (this.#ended || bytes.byteLength < 4 || bytes[0] !== 0) return
    if (bytes[1] === opcodes.ack) {
      const block = ((bytes[2] as number) << 8) | (bytes[3] as number)
      this.#do(this.#transfer.acknowledged(block, this.#options.engine.now()))
    } else if (bytes[1] === opcodes.error) this.#do(this.#transfer.clientError())
  }

  requestedAgain(): void {
    this.#do(this.#transfer.requestedAgain(this.#options.engine.now()))
  }

  /** Sends what is ready; gives how many blocks that were. */
  send(): number {
    const first = Math.max(this.#first, this.#transfer.base)
    const count = this.#last - first + 1
    this.#first = this.#last + 1
    if (this.#ended || count <= 0) return 0
    this.#blocks += count
    this.#content.send(first, first + count - 1)
    return count
  }

  /** Ends it because of us, and tells the client. */
  fail(error: unknown): Promise<void> {
    if (!this.#ended) this.#options.line.send([toErrorPacket(error)])
    return this.#end('failed', error)
  }

  /** Ends it without a word: the client is gone, or already asks for something else. */
  cancel(): Promise<void> {
    return this.#end('cancelled')
  }

  #loaded(): void {
    this.#tellLoaded()
    this.#wantMore()
  }

  #tellLoaded(): void {
    const { loadedBlocks, lastBlock } = this.#content
    this.#do(this.#transfer.loaded(loadedBlocks, lastBlock, this.#options.engine.now()))
  }

  #do(step: Step): void {
    if (this.#ended) return
    if (step.ended !== undefined) {
      void this.#end(step.ended)
      return
    }
    if (step.send === 'oack' && this.#oack !== undefined) this.#options.line.send([this.#oack])
    if (step.send === 'blocks') this.#ready(step.first, step.last)
    if (this.#transfer.answered) this.#wantMore()
    this.#wakeAt(step.wakeAtMs)
  }

  /** What is not sent yet is continued, or, after a step back, replaced: then `first` is what the client misses. */
  #ready(first: number, last: number): void {
    const isWaiting = this.#first <= this.#last
    if (!isWaiting || first !== this.#last + 1) this.#first = first
    this.#last = last
    if (!isWaiting) this.#options.onReady()
  }

  #wantMore(): void {
    if (!this.#ended) this.#content.want(this.#transfer.base)
  }

  /** Each packet moves the deadline; the timer is set anew only when it fires, or must fire sooner. */
  #wakeAt(atMs: number): void {
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return
    this.#timer?.cancel()
    this.#timer = undefined
    if (atMs === Number.POSITIVE_INFINITY) return
    this.#timerAtMs = atMs
    this.#timer = this.#options.engine.wakeAt(atMs, () => this.#wake())
  }

  #wake(): void {
    this.#timer = undefined
    this.#do(this.#transfer.wake(this.#options.engine.now()))
  }

  #end(outcome: SessionEnd['outcome'], error?: unknown): Promise<void> {
    this.#ended = true
    this.#finished ??= this.#finish(outcome, error)
    return this.#finished
  }

  async #finish(outcome: SessionEnd['outcome'], error: unknown): Promise<void> {
    this.#timer?.cancel()
    const { line, file, onEnd } = this.#options
    await Promise.allSettled([line.close(), this.#content.close().then(() => file.close())])
    onEnd({
      outcome,
      blockBytes: this.#blockBytes,
      windowBlocks: this.#windowBlocks,
      burstBlocks: this.#transfer.burstBlocks,
      blocks: this.#blocks,
      retransmittedBlocks: this.#transfer.retransmittedBlocks,
      ...(error === undefined ? {} : { error }),
    })
  }
}

/** What the client is told when the server stops. */
export function stopping(): MusterError {
  return new MusterError(
    'transfer-failed',
    'The TFTP server is stopping; the client may ask again once it is back',
  )
}
