/**
 * The DHCP server: takes packets at ports 67 and 4011, asks the responder, sends its replies.
 *
 * A broadcast does not say on which interface it came (dgram.ts), so with several addresses each of them answers on its own
 * segment; on the others nobody waits for that reply. The client's REQUEST then names one of them.
 */
import { BoundedLog } from '../datagram/bounded-log.ts'
import { TokenBucket } from '../datagram/token-bucket.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { broadcastAddress, macText } from './address.ts'
import type { DhcpClient } from './client.ts'
import type { Engine, Peer, Port } from './engine.ts'
import { dgramEngine } from './engines/dgram.ts'
import { addressIn, messageTypeOf } from './intent.ts'
import type { Decision } from './lessor.ts'
import type { DhcpLimits } from './limits.ts'
import { messageName, messageTypes, options } from './options.ts'
import { type DhcpPacket, encodePacket, parsePacket, parseSender } from './packet.ts'
import { PacketRate } from './rate.ts'
import { destinationOf, type Ports, replyLimit } from './reply.ts'
import { type Arrival, type DhcpMode, type Responder, withMark } from './responder.ts'

/** What was said to whom, for a timeline and a log. */
export type Answered = {
  client: DhcpClient
  /** `DISCOVER`, … */
  asked: string
  /** `OFFER`, `ACK`, `NAK`; undefined: nothing was sent. */
  reply: string | undefined
  address: string | undefined
  file: string | undefined
  /** What a REQUEST names as the client's own, whoever gave it. */
  wanted: string | undefined
  because: readonly string[]
}

export type DhcpServerOptions = {
  responder: Responder
  mode: DhcpMode
  /** Ours, one a segment, dotted. */
  addresses: readonly string[]
  ports?: Ports
  /** Whether this Muster steps back for another DHCP server: told to another one that asks. */
  yields?: boolean
  limits: DhcpLimits
  log: Log
  /** Monotonic milliseconds. */
  now?: () => number
  engine?: Engine
  onAnswer?: (answered: Answered) => void
}

/** Counts since the start. */
export type DhcpStats = {
  received: number
  malformed: number
  rateLimited: number
  /** Other servers' replies, and questions of our own. */
  ignored: number
  offers: number
  acks: number
  naks: number
  /** Read, and for a reason not answered. */
  silent: number
}

export type DhcpServer = AsyncDisposable & {
  /** Takes up leases, then listens. @throws listen-failed, database-failed */
  listen(): Promise<void>
  readonly mode: DhcpMode
  setMode(mode: DhcpMode): void
  /** Packets of this hardware address are questions of our own: never answered. */
  ignore(mac: string): void
  stats(): DhcpStats
}

/** Questions of our own that may be on their way: one an address. */
const maxIgnored = 64

export const dhcpPorts: Ports = { server: 67, client: 68, pxe: 4011 }

export function createDhcpServer(options: DhcpServerOptions): DhcpServer {
  return new Server(options)
}

class Server implements DhcpServer {
  readonly #options: DhcpServerOptions
  readonly #log: BoundedLog
  readonly #ports: Ports
  readonly #now: () => number
  readonly #rate: PacketRate
  readonly #rateOfAll: TokenBucket
  readonly #bound: Port[] = []
  /** Where replies leave from, by our address. */
  readonly #senders = new Map<string, Port>()
  /** Answers under way, and what to do when there is none any more. */
  #underWay = 0
  readonly #quiet = Promise.withResolvers<void>()
  #mode: DhcpMode
  readonly #ignored = new Set<string>()
  #stopped = false
  readonly #stats: DhcpStats = {
    received: 0,
    malformed: 0,
    rateLimited: 0,
    ignored: 0,
    offers: 0,
    acks: 0,
    naks: 0,
    silent: 0,
  }

  constructor(options: DhcpServerOptions) {
    this.#options = options
    this.#ports = options.ports ?? dhcpPorts
    this.#now = options.now ?? (() => performance.now())
    this.#mode = options.mode
    const { maxPacketBurstPerClient, maxPacketsPerSecond, maxPacketsPerSecondPerClient } = options.limits
    const maxClients = options.limits.maxRememberedClients
    const rate = { perSecond: maxPacketsPerSecondPerClient, burst: maxPacketBurstPerClient }
    this.#rate = new PacketRate({ ...rate, maxClients })
    this.#log = new BoundedLog({ log: options.log, limits: options.limits, now: this.#now })
    this.#rateOfAll = new TokenBucket({ perSecond: maxPacketsPerSecond, burst: maxPacketsPerSecond })
  }

  get mode(): DhcpMode {
    return this.#mode
  }

  setMode(mode: DhcpMode): void {
    this.#mode = mode
  }

  ignore(mac: string): void {
    this.#ignored.add(mac)
    if (this.#ignored.size > maxIgnored) this.#ignored.delete([...this.#ignored][0] as string)
  }

  stats(): DhcpStats {
    return { ...this.#stats }
  }

  async listen(): Promise<void> {
    const { addresses, log, responder } = this.#options
    await responder.restore()
    try {
      for (const address of addresses) {
        const arrival = { cameBy: 'unicast' as const, server: address }
        this.#senders.set(
          address,
          await this.#bind(address, this.#ports.server, [{ ...arrival, port: 'dhcp' }]),
        )
        await this.#bind(address, this.#ports.pxe, [{ ...arrival, port: 'pxe' }])
      }
      const onEach = addresses.map((server) => ({
        port: 'dhcp' as const,
        cameBy: 'broadcast' as const,
        server,
      }))
      await this.#bind(broadcastAddress, this.#ports.server, onEach)
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
    log.info({ addresses, mode: this.#mode, ports: this.#ports }, 'DHCP listens')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#bound.map((port) => port.close()))
    if (this.#underWay > 0) await this.#quiet.promise
    this.#log[Symbol.dispose]()
  }

  async #bind(host: string, port: number, arrivals: readonly Arrival[]): Promise<Port> {
    const { engine = dgramEngine } = this.#options
    const bound: Port = await engine.bind({
      host,
      port,
      onDatagram: (bytes, from) => this.#receive(bytes, from, arrivals, bound),
      onError: (error) => this.#log.error({ err: error, host, port }, 'a DHCP port failed'),
    })
    this.#bound.push(bound)
    return bound
  }

  /** A datagram at one of our ports; attacker-controlled. */
  #receive(bytes: Uint8Array, from: Peer, arrivals: readonly Arrival[], at: Port): void {
    if (this.#stopped) return
    this.#stats.received += 1
    // Answers at port 4011 go back to where the question came from, and nothing can be sent to port 0.
    const isFromNowhere = from.port === 0 && arrivals.some(({ port }) => port === 'pxe')
    const request = isFromNowhere ? 'malformed' : this.#admit(bytes, from)
    if (typeof request === 'string') {
      this.#stats[request] += 1
      return
    }
    for (const arrival of arrivals) void this.#answer(request, from, arrival, at)
  }

  #failed(error: unknown, request: DhcpPacket): void {
    const fields = { mac: macText(request.chaddr), reason: (error as Error).message }
    this.#stats.silent += 1
    // What a client wants echoed may be more than it takes: its own doing.
    if (errorCodeOf(error) === 'packet-invalid') this.#log.debug(fields, 'DHCP reply does not fit')
    else this.#log.error({ ...fields, err: error }, 'a DHCP packet could not be answered')
  }

  /**
   * The packet, or why it is dropped. The bucket of all comes last: what is dropped anyway takes nothing from other machines. Options are
   * read only of what may pass, because they are most of what a packet costs.
   */
  #admit(bytes: Uint8Array, from: Peer): DhcpPacket | 'rateLimited' | 'malformed' | 'ignored' {
    if (bytes.length > this.#options.limits.maxPacketBytes) return 'malformed'
    try {
      const { chaddr, op } = parseSender(bytes)
      const mac = macText(chaddr)
      if (op === 'reply' || this.#ignored.has(mac)) return 'ignored'
      const nowMs = this.#now()
      if (!this.#rate.take(mac, nowMs) || !this.#rateOfAll.take(nowMs)) return 'rateLimited'
      return parsePacket(bytes)
    } catch (error) {
      if (!(error instanceof MusterError)) throw error
      this.#log.debug({ from: from.address, reason: error.message }, 'DHCP packet dropped')
      return 'malformed'
    }
  }

  async #answer(request: DhcpPacket, from: Peer, arrival: Arrival, at: Port): Promise<void> {
    this.#underWay += 1
    try {
      await this.#tryAnswer(request, from, arrival, at)
    } catch (error) {
      this.#failed(error, request)
    }
    this.#underWay -= 1
    if (this.#stopped && this.#underWay === 0) this.#quiet.resolve()
  }

  async #tryAnswer(request: DhcpPacket, from: Peer, arrival: Arrival, at: Port): Promise<void> {
    const decision = await this.#options.responder.decide(request, this.#mode, {
      ...arrival,
      from: from.address,
    })
    // Port 4011 is asked from an address: the answer goes back the same way, also where ciaddr says another one.
    if (decision.reply !== undefined) {
      const isQuestion = request.options.has(options.muster)
      const mark = this.#options.yields === true ? 'auto' : 'server'
      const reply = isQuestion ? withMark(decision.reply, mark) : decision.reply
      const to = arrival.port === 'pxe' ? from : destinationOf(request, reply, this.#ports)
      const sender = arrival.port === 'pxe' ? at : this.#senders.get(arrival.server)
      sender?.send(encodePacket(reply, replyLimit(request)), to)
    }
    this.#report(request, decision)
  }

  #report(request: DhcpPacket, { because, client, reply }: Decision): void {
    const { onAnswer } = this.#options
    const type = reply === undefined ? undefined : messageTypeOf(reply)
    if (type === undefined) this.#stats.silent += 1
    else if (type === messageTypes.offer) this.#stats.offers += 1
    else if (type === messageTypes.ack) this.#stats.acks += 1
    else this.#stats.naks += 1
    const asked = messageName(messageTypeOf(request))
    const answered = {
      asked,
      reply: type === undefined ? undefined : messageName(type),
      address: reply === undefined || reply.yiaddr === '0.0.0.0' ? undefined : reply.yiaddr,
      file: reply === undefined || reply.file === '' ? undefined : reply.file,
      wanted: wantedAddress(request),
      because,
    }
    const fields = { mac: client?.mac ?? macText(request.chaddr), client: client?.what, ...answered }
    if (type === undefined) this.#log.debug(fields, `DHCP ${asked} not answered`)
    else this.#log.info(fields, `DHCP ${asked} answered`)
    if (client !== undefined) onAnswer?.({ client, ...answered })
  }
}

/** The client has it, or will in a moment: whoever gave it. */
function wantedAddress(request: DhcpPacket): string | undefined {
  if (messageTypeOf(request) !== messageTypes.request) return undefined
  return (
    addressIn(request, options.requestedAddress) ??
    (request.ciaddr === '0.0.0.0' ? undefined : request.ciaddr)
  )
}
