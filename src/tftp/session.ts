/** One transfer at work: feeds its state machine from a port of its own, a file and a clock, and does what it says. */
import { MusterError } from '../errors.ts'
import type { Peer, Port } from './engine.ts'
import { toErrorPacket } from './error-packet.ts'
import type { TftpFile } from './file.ts'
import type { TftpLimits } from './limits.ts'
import { negotiate } from './negotiation.ts'
import { encodePacket, opcodes, type TftpOptions, tftpErrors } from './packet.ts'
import { ReadAhead } from './read-ahead.ts'
import { type Outcome, type Step, Transfer } from './transfer.ts'

export type SessionEnd = {
  outcome: Outcome | 'failed' | 'cancelled'
  blockBytes: number
  windowBlocks: number
  blocks: number
  retransmittedBlocks: number
  /** With `failed`: why. */
  error?: unknown
}

export type SessionOptions = {
  peer: Peer
  port: Port
  file: TftpFile
  mode: 'octet' | 'netascii'
  options: TftpOptions
  limits: TftpLimits
  now: () => number
  /** Called once, after the port and the file are closed. */
  onEnd: (end: SessionEnd) => void
  onUnknownPeer: () => void
}

/** IP, UDP and TFTP headers before a block's data. */
const headerBytes = { IPv4: 20 + 8 + 4, IPv6: 40 + 8 + 4 }

export class Session {
  readonly #options: SessionOptions
  readonly #transfer: Transfer
  readonly #readAhead: ReadAhead
  readonly #oack: Uint8Array | undefined
  readonly #blockBytes: number
  readonly #windowBlocks: number
  #blocks = 0
  #timer: NodeJS.Timeout | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #ended = false
  #finished: Promise<void> | undefined

  constructor(options: SessionOptions) {
    this.#options = options
    const { limits, file, mode } = options
    // A client on a dual-stack socket shows up as ::ffff:192.0.2.1; on the wire it speaks IPv4.
    const family = options.peer.address.startsWith('::ffff:') ? 'IPv4' : options.peer.family
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
    this.#readAhead = new ReadAhead({
      file,
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
    return this.#transfer.stalledMs(this.#options.now()) >= this.#options.limits.firstRetransmitMs
  }

  start(): void {
    this.#do(this.#transfer.start(this.#options.now()))
    // With an OACK the file waits for ACK 0: who only asks for the size, or forged the address, costs no read.
    if (this.#oack === undefined) this.#readAhead.want(1)
  }

  /** A datagram at this transfer's own port; attacker-controlled. */
  receive(bytes: Uint8Array, from: Peer): void {
    const { peer, port } = this.#options
    if (from.port !== peer.port || from.address !== peer.address) {
      // RFC 1350 §4: tell the stranger, and go on undisturbed. An ERROR is never answered, or two servers could argue.
      this.#options.onUnknownPeer()
      if (bytes[1] !== opcodes.error) port.send([unknownTransfer], from)
      return
    }
    if (this.#ended || bytes.byteLength < 4 || bytes[0] !== 0) return
    if (bytes[1] === opcodes.ack) {
      const block = ((bytes[2] as number) << 8) | (bytes[3] as number)
      this.#do(this.#transfer.acknowledged(block, this.#options.now()))
    } else if (bytes[1] === opcodes.error) this.#do(this.#transfer.clientError())
  }

  requestedAgain(): void {
    this.#do(this.#transfer.requestedAgain(this.#options.now()))
  }

  /** Ends it because of us, and tells the client. */
  fail(error: unknown): Promise<void> {
    if (!this.#ended) this.#options.port.send([toErrorPacket(error)], this.#options.peer)
    return this.#end('failed', error)
  }

  /** Ends it without a word: the client is gone, or already asks for something else. */
  cancel(): Promise<void> {
    return this.#end('cancelled')
  }

  #loaded(): void {
    const { loadedBlocks, lastBlock } = this.#readAhead
    this.#do(this.#transfer.loaded(loadedBlocks, lastBlock, this.#options.now()))
    this.#wantMore()
  }

  #do(step: Step): void {
    if (this.#ended) return
    if (step.ended !== undefined) {
      void this.#end(step.ended)
      return
    }
    if (step.send === 'oack' && this.#oack !== undefined)
      this.#options.port.send([this.#oack], this.#options.peer)
    if (step.send === 'blocks') {
      this.#blocks += step.last - step.first + 1
      this.#options.port.send(this.#readAhead.packets(step.first, step.last), this.#options.peer)
    }
    if (this.#transfer.answered) this.#wantMore()
    this.#wakeAt(step.wakeAtMs)
  }

  #wantMore(): void {
    if (!this.#ended) this.#readAhead.want(this.#transfer.base)
  }

  /** Each packet moves the deadline; the timer is set anew only when it fires, or must fire sooner. */
  #wakeAt(atMs: number): void {
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (atMs === Number.POSITIVE_INFINITY) return
    this.#timerAtMs = atMs
    this.#timer = setTimeout(() => this.#wake(), Math.max(1, Math.ceil(atMs - this.#options.now())))
  }

  #wake(): void {
    this.#timer = undefined
    this.#do(this.#transfer.wake(this.#options.now()))
  }

  #end(outcome: SessionEnd['outcome'], error?: unknown): Promise<void> {
    this.#ended = true
    this.#finished ??= this.#finish(outcome, error)
    return this.#finished
  }

  async #finish(outcome: SessionEnd['outcome'], error: unknown): Promise<void> {
    clearTimeout(this.#timer)
    const { port, file, onEnd } = this.#options
    await Promise.allSettled([port.close(), this.#readAhead.close().then(() => file.close())])
    onEnd({
      outcome,
      blockBytes: this.#blockBytes,
      windowBlocks: this.#windowBlocks,
      blocks: this.#blocks,
      retransmittedBlocks: this.#transfer.retransmittedBlocks,
      ...(error === undefined ? {} : { error }),
    })
  }
}

const unknownTransfer = encodePacket({
  op: 'error',
  code: tftpErrors.unknownTransfer,
  message: 'unknown transfer id',
})

/** What the client is told when the server stops. */
export function stopping(): MusterError {
  return new MusterError(
    'transfer-failed',
    'The TFTP server is stopping; the client may ask again once it is back',
  )
}
