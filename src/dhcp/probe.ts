/**
 * Asks the segment who gives addresses: one DISCOVER of our own, and everything that is offered. No address is taken.
 *
 * Offers for a client without an address go to port 68 as broadcasts. Where that port is another program's, a DHCP client of this
 * machine has it, which is an answer as well: somebody gives addresses here.
 */
import { anyAddress, broadcastAddress, macText } from './address.ts'
import type { Engine, Port } from './engine.ts'
import { addressIn, messageTypeOf } from './intent.ts'
import { messageTypes, options, printableText } from './options.ts'
import { broadcastFlag, type DhcpPacket, encodePacket, latin1, latin1Text, parsePacket } from './packet.ts'
import type { Ports } from './reply.ts'

/** Of strangers, so it is bounded; of each kind for itself, because whoever invents one kind must not keep us from hearing another. */
const maxOffersOfKind = 64

export type Offer = {
  /** Option 54; where it is missing, who sent it. */
  server: string
  /** 0.0.0.0: it offers no address, so it is a ProxyDHCP server. */
  address: string
  nextServer: string
  file: string
  /** Of another Muster: `server`, or `auto` for one that would step back. */
  muster: string | undefined
}

export type ProbeOptions = {
  engine: Engine
  /** Ours on the segment that is asked. */
  address: string
  ports: Ports
  /** How long offers are waited for. Servers that look whether an address is in use take up to three seconds. */
  waitMs: number
  random: (bytes: number) => Uint8Array
  /** Says the hardware address before anything is sent, so that our own server can leave it alone. */
  onAddress?: (mac: string) => void
  /** A vendor class, to be offered what firmware is offered. */
  vendorClass?: string
  architecture?: number
  wait: (ms: number) => Promise<void>
}

/**
 * One offer for each server and kind, in the order of arrival: anybody can answer in the name of another server, and what is said so
 * must not hide what the server itself says. Kinds are by address or none, and by whose mark.
 * @throws listen-failed where port 68 cannot be had
 */
export async function probeServers(ask: ProbeOptions): Promise<Offer[]> {
  const { address, engine, ports } = ask
  const xid = new DataView(ask.random(4).slice().buffer).getUint32(0)
  // Locally administered (IEEE 802), so it is no real machine's.
  const chaddr = Uint8Array.from([0x02, 0x4d, 0x53, ...ask.random(3)])
  ask.onAddress?.(macText(chaddr))
  const offers = new Map<string, Offer>()
  const counts = new Map<string, number>()
  const hear = (bytes: Uint8Array, from: { address: string }) => {
    const offer = toOffer(bytes, xid, from.address)
    if (offer === undefined) return
    const kind = kindOf(offer)
    const key = `${offer.server} ${kind}`
    const count = counts.get(kind) ?? 0
    if (offers.has(key) || count >= maxOffersOfKind) return
    counts.set(kind, count + 1)
    offers.set(key, offer)
  }
  await using stack = new AsyncDisposableStack()
  const bind = async (host: string) => {
    const port: Port = await engine.bind({ host, port: ports.client, onDatagram: hear, onError: () => {} })
    stack.defer(() => port.close())
    return port
  }
  await bind(broadcastAddress)
  const sender = await bind(address)
  sender.send(encodePacket(discover({ ...ask, xid, chaddr }), 1472), {
    address: broadcastAddress,
    port: ports.server,
  })
  await ask.wait(ask.waitMs)
  return [...offers.values()]
}

function discover(
  ask: Pick<ProbeOptions, 'vendorClass' | 'architecture'> & { xid: number; chaddr: Uint8Array },
): DhcpPacket {
  const { architecture, chaddr, vendorClass, xid } = ask
  const found = new Map<number, Uint8Array>([
    [options.messageType, Uint8Array.of(messageTypes.discover)],
    [options.parameterList, Uint8Array.of(1, 3, 6, 66, 67)],
    [options.muster, latin1('who')],
  ])
  if (vendorClass !== undefined) found.set(options.vendorClass, latin1(vendorClass))
  if (architecture !== undefined)
    found.set(options.clientArchitecture, Uint8Array.of(architecture >> 8, architecture & 255))
  return {
    ...{ op: 'request', htype: 1, hops: 0, xid, secs: 0 },
    flags: broadcastFlag,
    ...{ ciaddr: anyAddress, yiaddr: anyAddress, siaddr: anyAddress, giaddr: anyAddress },
    ...{ chaddr, sname: '', file: '', options: found },
  }
}

/** Marks are strangers' text, so all but those that mean something are one. */
function kindOf({ address, muster }: Offer): string {
  const mark = muster === undefined || muster === 'auto' ? muster : 'server'
  return `${address === anyAddress ? 'proxy' : 'server'} ${mark}`
}

/** Attacker-controlled; undefined for anything that does not answer our question. */
function toOffer(bytes: Uint8Array, xid: number, from: string): Offer | undefined {
  let reply: DhcpPacket
  try {
    reply = parsePacket(bytes)
  } catch {
    return undefined
  }
  if (reply.op !== 'reply' || reply.xid !== xid || messageTypeOf(reply) !== messageTypes.offer)
    return undefined
  const mark = reply.options.get(options.muster)
  const file = reply.options.get(options.bootFile)
  return {
    server: addressIn(reply, options.serverIdentifier) ?? from,
    address: reply.yiaddr,
    nextServer: reply.siaddr,
    file: file === undefined ? reply.file : latin1Text(file).replace(/\0+$/, ''),
    muster: mark === undefined ? undefined : printableText(mark).slice(0, 16),
  }
}
