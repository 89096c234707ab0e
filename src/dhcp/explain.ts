/** A packet in words: what it says, field by field, and what each mode would answer to it. */
import { anyAddress, broadcastAddress, macText } from './address.ts'
import type { CapturedPacket } from './capture.ts'
import { identifyClient } from './client.ts'
import { messageTypeOf } from './intent.ts'
import { messageName, optionName, options, optionText } from './options.ts'
import { type DhcpPacket, encodePacket, parsePacket } from './packet.ts'
import { destinationOf, replyLimit } from './reply.ts'
import type { DhcpMode, Responder } from './responder.ts'
import { dhcpPorts } from './server.ts'

export type DecodedPacket = {
  message: string
  mac: string
  xid: string
  /** Header fields that say something. */
  header: Readonly<Record<string, string>>
  options: { code: number; name: string; value: string }[]
}

export type Explained = {
  from?: string
  to?: string
  packet: DecodedPacket
  /** For a reply, who sent it. */
  client: { what: string; kind: string; platform: string; because: string[] }
  /** None for a reply. */
  answers: {
    mode: DhcpMode
    because: string[]
    reply?: DecodedPacket & { to: string; bytes: number }
  }[]
}

export function decode(packet: DhcpPacket): DecodedPacket {
  const fields: [string, string][] = [
    ['hops', String(packet.hops)],
    ['secs', String(packet.secs)],
    ['flags', packet.flags & 0x8000 ? 'broadcast' : packet.flags === 0 ? '0' : packet.flags.toString(16)],
    ['ciaddr', packet.ciaddr],
    ['yiaddr', packet.yiaddr],
    ['siaddr', packet.siaddr],
    ['giaddr', packet.giaddr],
    ['sname', printable(packet.sname)],
    ['file', printable(packet.file)],
  ]
  return {
    message: messageName(messageTypeOf(packet)),
    mac: macText(packet.chaddr),
    xid: packet.xid.toString(16).padStart(8, '0'),
    header: Object.fromEntries(fields.filter(([, value]) => !['', '0', anyAddress].includes(value))),
    options: [...packet.options]
      .filter(([code]) => code !== options.messageType)
      .map(([code, value]) => ({ code, name: optionName(code), value: optionText(code, value) })),
  }
}

/**
 * @param responders one for each mode; packets of one exchange are given in their order.
 * @param server our address on the segment.
 * @throws packet-invalid
 */
export async function explain(
  captured: CapturedPacket,
  responders: Readonly<Record<DhcpMode, Responder>>,
  server: string,
): Promise<Explained> {
  const packet = parsePacket(captured.bytes)
  const { because, kind, platform, what } = identifyClient(packet)
  const { from, to } = captured
  const explained: Explained = {
    ...(from === undefined ? {} : { from: `${from.address}:${from.port}` }),
    ...(to === undefined ? {} : { to: `${to.address}:${to.port}` }),
    packet: decode(packet),
    client: { what, kind, platform, because },
    answers: [],
  }
  if (packet.op === 'reply') return explained
  const arrival = {
    port: to?.port === dhcpPorts.pxe ? ('pxe' as const) : ('dhcp' as const),
    cameBy:
      to === undefined || to.address === broadcastAddress ? ('broadcast' as const) : ('unicast' as const),
    server,
    ...(from === undefined ? {} : { from: from.address }),
  }
  for (const mode of ['proxy', 'server'] as const) {
    const decision = await responders[mode].decide(packet, mode, arrival)
    explained.answers.push({
      mode,
      because: decision.because,
      ...(decision.reply === undefined ? {} : { reply: toReply(packet, decision.reply, arrival.port, from) }),
    })
  }
  return explained
}

function toReply(
  packet: DhcpPacket,
  reply: DhcpPacket,
  port: 'dhcp' | 'pxe',
  from: CapturedPacket['from'],
): DecodedPacket & { to: string; bytes: number } {
  const to =
    port === 'pxe'
      ? (from ?? { address: packet.ciaddr, port: dhcpPorts.pxe })
      : destinationOf(packet, reply, dhcpPorts)
  const { length } = encodePacket(reply, replyLimit(packet))
  return { ...decode(reply), to: `${to.address}:${to.port}`, bytes: length }
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, '?')
}
