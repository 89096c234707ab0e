/**
 * Socket addresses and control messages as the kernel has them (ip(7), ipv6(7), cmsg(3)); numbers in the machine's order except
 * where "network" stands.
 *
 *   sockaddr_in   | u16 2  | u16 port, network | u32 address, network | 8 zero |                                    16 bytes
 *   sockaddr_in6  | u16 10 | u16 port, network | u32 flow | 16 address | u32 scope |                                  28 bytes
 *   cmsghdr       | u64 length with this header | i32 level | i32 type | data, padded to 8 |
 *   in_pktinfo    | i32 interface | u32 local address | u32 destination in the packet |                                12 bytes
 *   in6_pktinfo   | 16 local address | u32 interface |                                                                 20 bytes
 */
import { isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { sockets } from './libc.ts'

export const addressBytesMax = 28
/** One cmsghdr with an in6_pktinfo, padded. */
export const controlBytesMax = 40
const controlHeaderBytes = 16
const nothing = new Uint8Array(0)

/** A client, in the form that goes back to the kernel. */
export class SocketPeer {
  readonly address: string
  readonly port: number
  readonly family: 'IPv4' | 'IPv6'
  /** Its sockaddr. */
  readonly raw: Uint8Array
  /** The control message that makes an answer leave from the address that was asked; empty where the socket has only one. */
  readonly source: Uint8Array

  constructor(raw: Uint8Array, source: Uint8Array) {
    this.raw = raw
    this.source = source
    this.family = raw[0] === sockets.inet6 ? 'IPv6' : 'IPv4'
    this.port = ((raw[2] as number) << 8) | (raw[3] as number)
    this.address = this.family === 'IPv4' ? dotted(raw, 4) : colons(raw)
  }
}

/** `host` is a numeric address, possibly with a zone: `fe80::1%eth0`. */
export function encodeAddress(hostAndZone: string, port: number): Uint8Array {
  const [host = '', zone] = hostAndZone.split('%')
  const isV6 = isIPv6(host)
  const raw = new Uint8Array(isV6 ? 28 : 16)
  raw[0] = isV6 ? sockets.inet6 : sockets.inet
  raw[2] = port >> 8
  raw[3] = port & 0xff
  if (isV6) raw.set(groups(host), 8)
  else raw.set(host.split('.').map(Number), 4)
  if (isV6 && zone !== undefined) new DataView(raw.buffer).setUint32(24, scopeOf(zone), true)
  return raw
}

/**
 * What to send along so that the answer leaves from where the request arrived, out of the control messages that came with it;
 * empty when there is none.
 */
export function sourceOf(control: Uint8Array): Uint8Array {
  if (control.byteLength === 0) return nothing
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength)
  for (let at = 0; at + controlHeaderBytes <= control.byteLength; ) {
    const length = Number(view.getBigUint64(at, true))
    if (length < controlHeaderBytes || at + length > control.byteLength) break
    const [level, type] = [view.getInt32(at + 8, true), view.getInt32(at + 12, true)]
    const padded = (length + 7) & ~7
    if (level === sockets.level.ip && type === sockets.ipPacketInfo) {
      const source = new Uint8Array(padded)
      source.set(control.subarray(at, at + length))
      // The route decides the interface, as it would have.
      source.fill(0, controlHeaderBytes, controlHeaderBytes + 4)
      return source
    }
    if (level === sockets.level.ip6 && type === sockets.ip6PacketInfo) {
      const source = new Uint8Array(padded)
      source.set(control.subarray(at, at + length))
      // Only a link-local address (fe80::/10) needs its interface.
      const isLinkLocal =
        source[controlHeaderBytes] === 0xfe && ((source[controlHeaderBytes + 1] ?? 0) & 0xc0) === 0x80
      if (!isLinkLocal) source.fill(0, controlHeaderBytes + 16, controlHeaderBytes + 20)
      return source
    }
    at += padded
  }
  return nothing
}

/**
 * A sockaddr as the key of a map: a number for IPv4, and for IPv6 that carries it. The words are in network order, and only
 * compared; `inbox.ts` makes the same keys without an object.
 */
export function peerKey(raw: Uint8Array): number | string {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength)
  const port = view.getUint16(2, true)
  if (view.getUint16(0, true) === sockets.inet) return view.getUint32(4, true) * 65_536 + port
  const words = [8, 12, 16, 20, 24].map((at) => view.getUint32(at, true))
  if (words[0] === 0 && words[1] === 0 && words[2] === 0xffff_0000)
    return (words[3] as number) * 65_536 + port
  return `${words.join()} ${port}`
}

/** Writes the control message of UDP_SEGMENT; gives its length. */
export function writeSegmentSize(into: DataView, at: number, bytes: number): number {
  into.setBigUint64(at, BigInt(controlHeaderBytes + 2), true)
  into.setInt32(at + 8, sockets.level.udp, true)
  into.setInt32(at + 12, sockets.udpSegment, true)
  into.setUint16(at + controlHeaderBytes, bytes, true)
  return controlHeaderBytes + 8
}

/** The number of an interface; 0, which no link-local address goes with, where there is none of that name. */
function scopeOf(zone: string): number {
  if (/^[0-9]+$/.test(zone)) return Number(zone)
  return networkInterfaces()[zone]?.find((one) => one.family === 'IPv6')?.scopeid ?? 0
}

const dotted = (raw: Uint8Array, at: number): string =>
  `${raw[at]}.${raw[at + 1]}.${raw[at + 2]}.${raw[at + 3]}`

/** As node:dgram writes it (RFC 5952, IPv4-mapped with dots, a zone where the address needs one). */
function colons(raw: Uint8Array): string {
  const isMapped = raw.subarray(8, 18).every((byte) => byte === 0) && raw[18] === 0xff && raw[19] === 0xff
  if (isMapped) return `::ffff:${dotted(raw, 20)}`
  const words = Array.from({ length: 8 }, (_, index) =>
    (((raw[8 + 2 * index] as number) << 8) | (raw[9 + 2 * index] as number)).toString(16),
  )
  const [run] = words
    .join(':')
    .matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)
    .toArray()
    .sort((one, other) => other[0].length - one[0].length)
  const text = words.join(':')
  const short =
    run === undefined
      ? text
      : `${text.slice(0, run.index)}::${text.slice(run.index + run[0].length).replace(/^:/, '')}`
  const scope = new DataView(raw.buffer, raw.byteOffset).getUint32(24, true)
  return scope === 0 ? short : `${short}%${scope}`
}

function groups(host: string): number[] {
  const withoutDots = host.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number)
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const [front = '', back] = withoutDots.split('::')
  const words = (text: string) =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16))
  const first = words(front)
  const last = words(back ?? '')
  const all = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last]
  return all.flatMap((word) => [word >> 8, word & 0xff])
}
