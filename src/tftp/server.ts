/**
 * The TFTP server: takes requests at its ports, asks `open` what they mean, and runs a session for each.
 *
 * Requests only come to the listening port. Every transfer has a fresh port of its own, which is its transfer id
 * (RFC 1350 §4), so a late packet of an old transfer never reaches a new one.
 */
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Engine, Peer, Port } from './engine.ts'
import { dgramEngine } from './engines/dgram.ts'
import { toErrorPacket } from './error-packet.ts'
import type { OpenFile, TftpFile, TftpRequest } from './file.ts'
import { defaultTftpLimits, type TftpLimits } from './limits.ts'
import { maxRequestBytes, parsePacket, type RequestPacket } from './packet.ts'
import { toRequest } from './request.ts'
import { RequestRate } from './request-rate.ts'
import { Session, type SessionEnd, stopping } from './session.ts'
import { type Slot, Slots } from './slots.ts'

export type TransferReport = Omit<SessionEnd, 'error'> & {
  request: TftpRequest
  sizeBytes: number
  durationMs: number
}

export type TftpServerOptions = {
  open: OpenFile
  limits?: Partial<TftpLimits>
  log: Log
  /** Monotonic milliseconds. */
  now?: () => number
  engine?: Engine
  /** Called after each transfer, however it ended. */
  onTransfer?: (report: TransferReport) => void
}

/** Counts since the start, except `active`. */
export type TftpStats = {
  requests: number
  /** Not a TFTP request, or longer than one may be. */
  malformed: number
  /** Above one address's request rate: not answered at all. */
  rateLimited: number
  /** Answered with an ERROR before a transfer began: no such file, not allowed, too many. */
  refused: number
  duplicates: number
  unknownPeers: number
  active: number
  outcomes: Record<SessionEnd['outcome'], number>
  blocks: number
  retransmittedBlocks: number
}

export type TftpServer = AsyncDisposable & {
  /**
   * Takes requests at this address too; `port` 0 chooses one. Answers leave from the same address, so a machine with
   * several gives each its own call: from a wildcard the kernel chooses, and ROMs drop what comes from another.
   * @throws listen-failed
   */
  listen(where: { host: string; port: number }): Promise<{ host: string; port: number }>
  stats(): TftpStats
}

export function createTftpServer(options: TftpServerOptions): TftpServer {
  return new Server(options)
}

class Server implements TftpServer {
  readonly #open: OpenFile
  readonly #limits: TftpLimits
  readonly #log: Log
  readonly #now: () => number
  readonly #engine: Engine
  readonly #onTransfer: (report: TransferReport) => void
  readonly #rate: RequestRate
  readonly #ports = new Set<Port>()
  readonly #slots: Slots
  #stopped = false
  readonly #stats: TftpStats = {
    requests: 0,
    malformed: 0,
    rateLimited: 0,
    refused: 0,
    duplicates: 0,
    unknownPeers: 0,
    active: 0,
    outcomes: {
      completed: 0,
      unconfirmed: 0,
      probed: 0,
      aborted: 0,
      'timed-out': 0,
      failed: 0,
      cancelled: 0,
    },
    blocks: 0,
    retransmittedBlocks: 0,
  }

  constructor(options: TftpServerOptions) {
    this.#open = options.open
    this.#limits = { ...defaultTftpLimits, ...options.limits }
    this.#log = options.log
    this.#now = options.now ?? (() => performance.now())
    this.#engine = options.engine ?? dgramEngine
    this.#onTransfer = options.onTransfer ?? (() => {})
    this.#slots = new Slots(this.#limits)
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
      onError: (error) => this.#log.error({ err: error, ...where }, 'TFTP request port failed'),
    })
    this.#ports.add(port)
    this.#log.info({ host: port.local.address, port: port.local.port }, 'TFTP listens')
    return { host: port.local.address, port: port.local.port }
  }

  stats(): TftpStats {
    return { ...this.#stats, active: this.#slots.size, outcomes: { ...this.#stats.outcomes } }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#ports].map((port) => port.close()))
    await Promise.all(this.#slots.all().map((slot) => this.#drop(slot, stopping())))
  }

  /** A datagram at a request port; attacker-controlled. */
  #receive(bytes: Uint8Array, from: Peer, port: Port): void {
    if (this.#stopped) return
    const address = plainAddress(from.address)
    const packet = this.#parse(bytes, address)
    if (packet === undefined) return
    this.#stats.requests += 1
    if (!this.#rate.take(address, this.#now())) {
      this.#stats.rateLimited += 1
      return
    }
    const key = `${from.address} ${from.port}`
    const before = this.#slots.get(key)
    if (before !== undefined && !this.#replaces(before, bytes)) return
    try {
      const request = toRequest(packet, address, from.port, this.#limits)
      const inTheWay = this.#slots.inTheWay(address)
      if (inTheWay !== undefined) void this.#drop(inTheWay)
      const slot: Slot = { key, address, requestBytes: bytes, session: undefined, dropped: false }
      this.#slots.add(slot)
      void this.#serve({ slot, request, packet, from, port })
    } catch (error) {
      this.#refuse(error, packet, from, port)
    }
  }

  #parse(bytes: Uint8Array, address: string): RequestPacket | undefined {
    try {
      if (bytes.byteLength <= maxRequestBytes) {
        const packet = parsePacket(bytes)
        if (packet.op === 'read' || packet.op === 'write') return packet
      }
    } catch (error) {
      if (!(error instanceof MusterError)) throw error
      this.#log.debug({ client: address, reason: error.message }, 'TFTP request dropped')
    }
    this.#stats.malformed += 1
    return undefined
  }

  /**
   * A second request from the same address and port. While the first is not acknowledged it is a repetition and gets
   * the same answer; when the client has gone silent, or asks for something else, it started over.
   */
  #replaces(slot: Slot, bytes: Uint8Array): boolean {
    const same = Buffer.compare(slot.requestBytes, bytes) === 0
    if (same && (slot.session === undefined || !slot.session.startedOver)) {
      this.#stats.duplicates += 1
      slot.session?.requestedAgain()
      return false
    }
    void this.#drop(slot)
    return true
  }

  async #serve(job: ServeJob): Promise<void> {
    const { slot, request, packet, from } = job
    const startedMs = this.#now()
    // Ours to close until a session has it.
    let file: TftpFile | undefined
    try {
      const opened = await this.#openInTime(request)
      if (slot.dropped) return await opened.close()
      file = opened
      const port = await this.#engine.bind({
        host: job.port.local.address,
        port: 0,
        onDatagram: (bytes, sender) => slot.session?.receive(bytes, sender),
        onError: (error) => void slot.session?.fail(error),
      })
      file = undefined
      const session = new Session({
        peer: from,
        port,
        file: opened,
        mode: request.mode,
        options: packet.options,
        limits: this.#limits,
        now: this.#now,
        onUnknownPeer: () => {
          this.#stats.unknownPeers += 1
        },
        onEnd: (end) => {
          this.#slots.release(slot)
          this.#report(end, request, opened.size, this.#now() - startedMs)
        },
      })
      slot.session = session
      if (slot.dropped) await session.cancel()
      else session.start()
    } catch (error) {
      this.#slots.release(slot)
      await file?.close().catch(() => {})
      if (!slot.dropped) this.#refuse(error, packet, from, job.port)
    }
  }

  /** @throws transfer-timeout, or what `open` throws */
  #openInTime(request: TftpRequest): Promise<TftpFile> {
    const { giveUpAfterMs } = this.#limits
    return new Promise((resolve, reject) => {
      let late = false
      const timer = setTimeout(() => {
        late = true
        reject(
          new MusterError(
            'transfer-timeout',
            `"${request.filename}" was not opened within ${giveUpAfterMs} ms`,
          ),
        )
      }, giveUpAfterMs)
      Promise.try(this.#open, request)
        .then((file) => (late ? file.close() : resolve(file)), reject)
        .finally(() => clearTimeout(timer))
        .catch((error: unknown) => this.#log.warn({ err: error }, 'TFTP file could not be closed'))
    })
  }

  #drop(slot: Slot, told?: MusterError): Promise<void> {
    slot.dropped = true
    this.#slots.release(slot)
    if (slot.session === undefined) return Promise.resolve()
    return told === undefined ? slot.session.cancel() : slot.session.fail(told)
  }

  #refuse(error: unknown, packet: RequestPacket, from: Peer, port: Port): void {
    this.#stats.refused += 1
    port.send([toErrorPacket(error)], from)
    const fields = { client: from.address, filename: packet.filename, code: errorCodeOf(error) }
    // Clients try names that need not exist (boot scripts by MAC, shorter prefixes): that is no news.
    if (fields.code === 'file-not-found') this.#log.debug(fields, 'TFTP request refused')
    else if (fields.code === 'internal') this.#log.error({ ...fields, err: error }, 'TFTP request failed')
    else this.#log.info({ ...fields, reason: (error as Error).message }, 'TFTP request refused')
  }

  #report(end: SessionEnd, request: TftpRequest, sizeBytes: number, durationMs: number): void {
    const { error, ...facts } = end
    this.#stats.outcomes[end.outcome] += 1
    this.#stats.blocks += end.blocks
    this.#stats.retransmittedBlocks += end.retransmittedBlocks
    const fields = { ...request, ...facts, sizeBytes, durationMs: Math.round(durationMs) }
    if (end.outcome === 'failed') this.#log.warn({ ...fields, err: error }, 'TFTP transfer failed')
    else if (end.outcome === 'probed' || end.outcome === 'cancelled')
      this.#log.debug(fields, 'TFTP transfer ended')
    else this.#log.info(fields, `TFTP transfer ${end.outcome}`)
    this.#onTransfer({ ...facts, request, sizeBytes, durationMs })
  }
}

type ServeJob = {
  slot: Slot
  request: TftpRequest
  packet: RequestPacket
  from: Peer
  port: Port
}

/** `::ffff:192.0.2.1`, as dual-stack sockets report IPv4, becomes `192.0.2.1`. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
