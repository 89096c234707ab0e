/**
 * The TFTP server: takes requests at its ports, asks `open` what they mean, and runs a session for each.
 *
 * Requests only come to the listening port. Every transfer has a line of its own: a fresh transfer id of ours (RFC 1350 §4),
 * so a late packet of an old transfer never reaches a new one.
 */
import { BoundedLog } from '../datagram/bounded-log.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { ClientWindows } from './client-windows.ts'
import type { Engine, Line, Peer, Port } from './engine.ts'
import { toErrorPacket } from './error-packet.ts'
import type { OpenFile, TftpFile, TftpRequest } from './file.ts'
import type { TftpLimits } from './limits.ts'
import { openInTime } from './open-in-time.ts'
import {
  encodePacket,
  maxRequestBytes,
  opcodes,
  parsePacket,
  type RequestPacket,
  tftpErrors,
} from './packet.ts'
import { type Refusal, Reports, type TransferReport } from './reports.ts'
import { toRequest } from './request.ts'
import { RequestRate } from './request-rate.ts'
import { SendQueue } from './send-queue.ts'
import { Session, stopping } from './session.ts'
import { type Slot, Slots } from './slots.ts'
import { Counters, type TftpStats } from './stats.ts'

export type ServerOptions = {
  open: OpenFile
  limits: TftpLimits
  log: Log
  engine: Engine
  /** Called after each transfer, however it ended. */
  onTransfer?: ((report: TransferReport) => void) | undefined
  onRefused?: ((refusal: Refusal) => void) | undefined
  counters?: Counters
}

export type TftpServer = AsyncDisposable & {
  /**
   * Takes requests at this address too; `port` 0 chooses one. Answers leave from the same address.
   * @throws listen-failed
   */
  listen(where: { host: string; port: number }): Promise<{ host: string; port: number }>
  stats(): TftpStats
}

/** Serves in this thread, by this engine; `startTftpServer` chooses both. */
export function createServer(options: ServerOptions): TftpServer {
  return new Server(options)
}

class Server implements TftpServer {
  readonly #options: ServerOptions
  readonly #limits: TftpLimits
  readonly #log: BoundedLog
  readonly #engine: Engine
  readonly #rate: RequestRate
  readonly #windows: ClientWindows
  readonly #counters: Counters
  readonly #reports: Reports
  readonly #ports = new Set<Port>()
  readonly #slots: Slots
  readonly #queue = new SendQueue<Session>()
  #sending = false
  #stopped = false

  constructor(options: ServerOptions) {
    this.#options = options
    this.#limits = options.limits
    this.#engine = options.engine
    this.#counters = options.counters ?? new Counters()
    this.#log = new BoundedLog({
      log: options.log,
      limits: options.limits,
      now: () => this.#engine.now(),
      later: (ms, act) => this.#engine.wakeAt(this.#engine.now() + ms, act),
    })
    this.#reports = new Reports({ ...options, log: this.#log, counters: this.#counters })
    this.#slots = new Slots(this.#limits)
    this.#windows = new ClientWindows({ maxClients: this.#limits.maxRememberedClients })
    this.#rate = new RequestRate({
      perSecond: this.#limits.maxRequestsPerSecondPerClient,
      burst: this.#limits.maxRequestBurstPerClient,
      maxClients: this.#limits.maxRememberedClients,
    })
  }

  async listen(where: { host: string; port: number }): Promise<{ host: string; port: number }> {
    const port: Port = await this.#engine.bind({
      ...where,
      onDatagram: (bytes, from) => this.#receive(bytes, from, port),
      onStranger: (bytes, from, reply) => this.#turnAway(bytes, from, reply),
      onError: (error) => this.#log.error({ err: error, ...where }, 'TFTP request port failed'),
    })
    this.#ports.add(port)
    this.#log.info({ host: port.local.address, port: port.local.port }, 'TFTP listens')
    return { host: port.local.address, port: port.local.port }
  }

  stats(): TftpStats {
    return this.#counters.read()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#slots.all().map((slot) => this.#drop(slot, stopping())))
    await Promise.all([...this.#ports].map((port) => port.close()))
    this.#log[Symbol.dispose]()
  }

  /** A datagram at a request port; attacker-controlled. */
  #receive(bytes: Uint8Array, from: Peer, port: Port): void {
    if (this.#stopped) return
    const address = plainAddress(from.address)
    const packet = this.#parse(bytes, from)
    if (packet === undefined) return
    this.#counters.add('requests')
    if (!this.#rate.take(address, this.#engine.now())) {
      this.#counters.add('rateLimited')
      return
    }
    const key = `${from.address} ${from.port}`
    const before = this.#slots.get(key)
    if (before !== undefined && !this.#replaces(before, bytes)) return
    try {
      const request = toRequest(packet, address, from.port, this.#limits)
      const inTheWay = this.#slots.inTheWay(address)
      if (inTheWay !== undefined) void this.#drop(inTheWay)
      const slot: Slot = {
        key,
        address,
        requestBytes: bytes.slice(),
        session: undefined,
        dropped: false,
      }
      this.#slots.add(slot)
      this.#counters.set('active', this.#slots.size)
      void this.#serve({ slot, request, packet, from, port })
    } catch (error) {
      this.#refuse(error, packet, from, port)
    }
  }

  /**
   * A datagram at a transfer's port from who has no transfer there; attacker-controlled. RFC 1350 §4: tell the stranger,
   * and go on undisturbed. An ERROR is never answered, or two servers could argue; nor is one address answered for ever.
   */
  #turnAway(bytes: Uint8Array, from: Peer, reply: (datagram: Uint8Array) => void): void {
    this.#counters.add('unknownPeers')
    if (this.#stopped || from.port === nowhere || bytes[1] === opcodes.error) return
    if (this.#rate.take(plainAddress(from.address), this.#engine.now())) reply(unknownTransfer)
  }

  #parse(bytes: Uint8Array, { address, port }: Peer): RequestPacket | undefined {
    let reason = port === nowhere ? 'it says that it comes from port 0' : 'not a request, or too long for one'
    try {
      if (port !== nowhere && bytes.byteLength <= maxRequestBytes) {
        const packet = parsePacket(bytes)
        if (packet.op === 'read' || packet.op === 'write') return packet
      }
    } catch (error) {
      if (!(error instanceof MusterError)) throw error
      reason = error.message
    }
    this.#reports.malformed(plainAddress(address), reason)
    return undefined
  }

  /**
   * A second request from the same address and port. While the first is not acknowledged it is a repetition and gets
   * the same answer; when the client has gone silent, or asks for something else, it started over.
   */
  #replaces(slot: Slot, bytes: Uint8Array): boolean {
    const same = Buffer.compare(slot.requestBytes, bytes) === 0
    if (same && (slot.session === undefined || !slot.session.startedOver)) {
      this.#counters.add('duplicates')
      slot.session?.requestedAgain()
      return false
    }
    void this.#drop(slot)
    return true
  }

  async #serve(job: ServeJob): Promise<void> {
    const { slot, request, packet, from } = job
    const startedMs = this.#engine.now()
    // Ours to close until a session has them.
    let file: TftpFile | undefined
    let line: Line | undefined
    try {
      const { open } = this.#options
      const { giveUpAfterMs } = this.#limits
      file = await openInTime(request, { open, engine: this.#engine, giveUpAfterMs, log: this.#log })
      if (slot.dropped) return await file.close()
      line = await job.port.open({
        to: from,
        onDatagram: (bytes) => slot.session?.receive(bytes),
        onError: (error) => void slot.session?.fail(error),
      })
      const session = this.#session(job, file, line, startedMs)
      file = undefined
      line = undefined
      slot.session = session
      if (slot.dropped) await session.cancel()
      else session.start()
    } catch (error) {
      this.#release(slot)
      await Promise.allSettled([file?.close(), line?.close()])
      if (!slot.dropped) this.#refuse(error, packet, from, job.port)
    }
  }

  #session(job: ServeJob, file: TftpFile, line: Line, startedMs: number): Session {
    const { slot, request, packet } = job
    const most = this.#limits.maxWindowBlocks
    const session: Session = new Session({
      // A client on a dual-stack socket shows up as ::ffff:192.0.2.1; on the wire it speaks IPv4.
      family: slot.address.includes(':') ? 'IPv6' : 'IPv4',
      line,
      engine: this.#engine,
      file,
      mode: request.mode,
      options: packet.options,
      limits: { ...this.#limits, maxWindowBlocks: this.#windows.grant(slot.address, most) },
      onReady: () => {
        this.#queue.add(slot.address, session)
        this.#sendSoon()
      },
      onEnd: (end) => {
        if (
          packet.options.has('windowsize') &&
          (end.outcome === 'completed' || end.outcome === 'unconfirmed')
        )
          this.#windows.ended(slot.address, most, end.windowBlocks, end.burstBlocks)
        this.#reports.ended(end, request, file.size, this.#engine.now() - startedMs)
        this.#release(slot)
      },
    })
    return session
  }

  #sendSoon(): void {
    if (this.#sending) return
    this.#sending = true
    this.#engine.afterTurn(() => {
      this.#sending = false
      this.#queue.drain(blocksPerTurn, (session) => session.send())
      if (this.#queue.clients > 0) this.#sendSoon()
    })
  }

  #release(slot: Slot): void {
    this.#slots.release(slot)
    this.#counters.set('active', this.#slots.size)
  }

  #drop(slot: Slot, told?: MusterError): Promise<void> {
    slot.dropped = true
    this.#release(slot)
    if (slot.session === undefined) return Promise.resolve()
    return told === undefined ? slot.session.cancel() : slot.session.fail(told)
  }

  #refuse(error: unknown, packet: RequestPacket, from: Peer, port: Port): void {
    port.reply(toErrorPacket(error), from)
    const client = { address: plainAddress(from.address), port: from.port }
    this.#reports.refused(error, { client, filename: packet.filename, code: errorCodeOf(error) })
  }
}

type ServeJob = {
  slot: Slot
  request: TftpRequest
  packet: RequestPacket
  from: Peer
  port: Port
}

const unknownTransfer = encodePacket({
  op: 'error',
  code: tftpErrors.unknownTransfer,
  message: 'unknown transfer id',
})

/** A datagram may say that it comes from port 0 (RFC 768), and none can be sent there: node:dgram throws at the attempt. */
const nowhere = 0

/** Sent between two looks at what has arrived: enough for a batch, little enough that a quick client is not kept waiting. */
const blocksPerTurn = 64

/** `::ffff:192.0.2.1`, as dual-stack sockets report IPv4, becomes `192.0.2.1`. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
