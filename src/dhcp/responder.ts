/**
 * What is answered to one packet, and why: everything of the server but its sockets. `muster dhcp explain` asks the same code.
 *
 *     proxy   DISCOVER of firmware on 67 ─▶ OFFER without an address; anything of firmware on 4011 ─▶ ACK
 *     server  the states of RFC 2131 §4.3 ─▶ OFFER, ACK, NAK, or silence where it is another server's business
 */
import { type DhcpClient, identifyClient } from './client.ts'
import { type Intent, intentOf, messageTypeOf } from './intent.ts'
import { type Decision, describe, Lessor, type ResponderOptions, silent } from './lessor.ts'
import { messageName, options } from './options.ts'
import { type DhcpPacket, latin1 } from './packet.ts'
import { Recent } from './recent.ts'
import { Recipients } from './recipients.ts'
import { proxyReply, type ReplyFacts } from './reply.ts'

export type DhcpMode = 'proxy' | 'server'

/** How a packet came. `server`: our address on the segment it came from; `from`: its sender's, where that is known. */
export type Arrival = { port: 'dhcp' | 'pxe'; cameBy: 'broadcast' | 'unicast'; server: string; from?: string }

export class Responder implements Disposable {
  readonly #options: ResponderOptions
  readonly #recipients: Recipients
  readonly #lessor: Lessor
  /** Firmware by hardware address, of the exchange under way: a Pi's REQUEST does not say any more that it is one. */
  readonly #firmware: Recent<{ xid: number; client: DhcpClient }>

  /** @throws config-invalid where `relays` are none */
  constructor(options: ResponderOptions) {
    this.#options = options
    this.#recipients = new Recipients(options)
    this.#lessor = new Lessor(options, this.#recipients)
    this.#firmware = new Recent(options.limits.maxRememberedClients)
  }

  /** Takes up the leases of the last run. Call it once, before the first packet. @throws database-failed */
  restore(): Promise<number> {
    return this.#lessor.restore()
  }

  [Symbol.dispose](): void {
    this.#lessor[Symbol.dispose]()
  }

  counts() {
    return this.#lessor.counts()
  }

  /** Addresses that were looked for before they were offered. */
  checks() {
    return this.#lessor.checks()
  }

  async decide(request: DhcpPacket, mode: DhcpMode, arrival: Arrival): Promise<Decision> {
    const client = this.#clientOf(request)
    const intent = intentOf(request, arrival.cameBy)
    if (intent.kind === 'none') return { client, because: [intent.because] }
    const facts = { request, client, server: arrival.server, boot: undefined }
    return mode === 'proxy' || arrival.port === 'pxe'
      ? this.#proxy(facts, intent, arrival)
      : this.#lessor.serve(facts, intent)
  }

  #proxy(facts: ReplyFacts, intent: Intent, { from, port }: Arrival): Decision {
    const { client, request, server } = facts
    const because = describe(client)
    if (client.kind === 'other' || client.kind === 'u-root')
      return silent(client, [...because, 'it does not listen to a ProxyDHCP server: left to the DHCP server'])
    if (port === 'dhcp' && intent.kind !== 'discover' && intent.kind !== 'inform')
      return silent(client, [
        ...because,
        `${messageName(messageTypeOf(request))} on port 67 is for the server that gives addresses`,
      ])
    if (intent.kind === 'decline' || intent.kind === 'release')
      return silent(client, [...because, 'addresses are not our business in this mode'])
    // What comes to port 4011 is answered to its sender.
    const refusal = port === 'dhcp' ? this.#recipients.refusalOf(request, from) : undefined
    if (refusal !== undefined) return silent(client, [...because, refusal])
    const boot = this.#options.boot(client, server)
    if ('nothing' in boot) return silent(client, [...because, boot.nothing])
    const binl = client.mac !== undefined && this.#isBinl(client)
    if (binl && port === 'dhcp')
      because.push('its address block is in dhcp.binl: no option 43, so that it asks port 4011')
    because.push(`${boot.file === '' ? 'names of its own' : boot.file} from ${boot.nextServer}, no address`)
    return { client, because, reply: proxyReply({ ...facts, boot, binl }) }
  }

  #isBinl({ kind, mac, platform }: DhcpClient): boolean {
    if (kind !== 'pxe' || platform === 'bios') return false
    return (this.#options.binl ?? []).some((block) => mac?.startsWith(block) === true)
  }

  #clientOf(request: DhcpPacket): DhcpClient {
    const client = identifyClient(request)
    const { mac } = client
    if (mac === undefined) return client
    if (client.kind === 'other') {
      const before = this.#firmware.get(mac)
      return before?.xid === request.xid ? before.client : client
    }
    this.#firmware.set(mac, { xid: request.xid, client })
    return client
  }
}

/** Says in a reply to another Muster's question that this is one, and whether it may step back (auto.ts). */
export function withMark(reply: DhcpPacket, mark: string): DhcpPacket {
  return { ...reply, options: new Map([[options.muster, latin1(mark)], ...reply.options]) }
}
