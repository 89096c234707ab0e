/**
 * DHCP packets out of what people have at hand: a capture of tcpdump (classic pcap), one packet, or bytes in hexadecimal (hexadecimal.ts).
 *
 *     pcap     magic 4 (its byte order is the file's) | version 4 | zone, accuracy 8 | longest 4 | link type 4
 *              { seconds 4 | fraction 4 | kept bytes 4 | bytes on the wire 4 | frame }…
 *     frame    Ethernet II (with 802.1Q tags) 1, raw IP 101 and 228, Linux "any" 113 and 276
 */
import { MusterError } from '../errors.ts'
import { ByteReader } from '../wire/reader.ts'
import { readAddress } from './address.ts'
import { hexPackets } from './hexadecimal.ts'

export type CapturedPacket = {
  /** UDP payload. */
  bytes: Uint8Array
  /** Where it came from and went; undefined for a payload alone. */
  from?: { address: string; port: number }
  to?: { address: string; port: number }
  /** Milliseconds since 1970. */
  atMs?: number
  /** Bytes of the frame that the capture does not have, where it cut packets (tcpdump -s). */
  missingBytes?: number
}

export type Capture = {
  packets: CapturedPacket[]
  /** `truncated`: the file ends in the middle of a packet, as that of a tcpdump that is still writing does. */
  end: 'whole' | 'truncated' | 'limit'
}

const linkTypes = { ethernet: 1, rawIp: 101, linuxAny: 113, ipv4: 228, linuxAny2: 276 } as const
const dhcpPorts = new Set([67, 68, 4011])

/**
 * The DHCP packets of a file, which is attacker-controlled as far as packets are. At most `max`.
 * @throws packet-invalid where there are none, with the way out
 */
export function readCapture(file: Uint8Array, max = 1000): Capture {
  const order = pcapOrder(file)
  const found: Capture & { read?: number } =
    order === undefined ? fromPackets(hexPackets(file) ?? [file], max) : fromPcap(file, order, max)
  const { end, packets, read } = found
  if (packets.length > 0) return { packets, end }
  if (order === undefined)
    throw new MusterError(
      'packet-invalid',
      'this holds no DHCP packet: expected classic pcap, an Ethernet frame, an IP packet or a BOOTP payload, each also in hexadecimal',
    )
  const before =
    end === 'truncated'
      ? `the capture ends in the middle of its packet ${read! + 1}, and before that it holds no DHCP packet`
      : `the capture holds no DHCP packet among its ${read}`
  throw new MusterError(
    'packet-invalid',
    `${before}: record with tcpdump -i INTERFACE -w FILE port 67 or port 68 or port 4011, and stop it with Ctrl-C`,
  )
}

type Order = { little: boolean; fractionsPerMs: number }

function pcapOrder(file: Uint8Array): Order | undefined {
  if (file.length < 24) return undefined
  const magic = new DataView(file.buffer, file.byteOffset).getUint32(0)
  if (magic === 0x0a0d0d0a)
    throw new MusterError(
      'packet-invalid',
      'this capture is pcapng, which is not read here: write classic pcap (tcpdump -w, or editcap -F pcap IN OUT)',
    )
  const orders = new Map<number, Order>([
    [0xa1b2c3d4, { little: false, fractionsPerMs: 1000 }],
    [0xd4c3b2a1, { little: true, fractionsPerMs: 1000 }],
    [0xa1b23c4d, { little: false, fractionsPerMs: 1e6 }],
    [0x4d3cb2a1, { little: true, fractionsPerMs: 1e6 }],
  ])
  return orders.get(magic)
}

function fromPcap(
  file: Uint8Array,
  { fractionsPerMs, little }: Order,
  max: number,
): Capture & { read: number } {
  const reader = new ByteReader(file, { what: 'capture' })
  const u32 = () => (little ? reader.u32le() : reader.u32())
  reader.skip(20)
  const link = u32() & 0xffff
  const packets: CapturedPacket[] = []
  let read = 0
  // A capture that was cut off in the middle of a packet still has those before it.
  for (; reader.remaining > 0; read++) {
    if (packets.length >= max) return { packets, end: 'limit', read }
    if (reader.remaining < 16) return { packets, end: 'truncated', read }
    const atMs = u32() * 1000 + u32() / fractionsPerMs
    const kept = u32()
    const missingBytes = u32() - kept
    if (kept > reader.remaining) return { packets, end: 'truncated', read }
    const packet = fromFrame(reader.bytes(kept), link)
    if (packet !== undefined) packets.push({ ...packet, atMs, ...(missingBytes > 0 ? { missingBytes } : {}) })
  }
  return { packets, end: 'whole', read }
}

function fromPackets(packets: readonly Uint8Array[], max: number): Capture {
  const found = packets.flatMap(fromBytes)
  return { packets: found.slice(0, max), end: found.length > max ? 'limit' : 'whole' }
}

/** One packet without a capture around it: what it is shows in its first bytes. */
function fromBytes(bytes: Uint8Array): CapturedPacket[] {
  if (bytes.length >= 240 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(236) === 0x63825363)
    return [{ bytes }]
  const inside = fromIp(bytes) ?? fromFrame(bytes, linkTypes.ethernet)
  if (inside !== undefined) return [inside]
  // Plain BOOTP has no cookie.
  return bytes.length >= 236 && (bytes[0] === 1 || bytes[0] === 2) ? [{ bytes }] : []
}

function fromFrame(frame: Uint8Array, link: number): CapturedPacket | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length)
  switch (link) {
    case linkTypes.rawIp:
    case linkTypes.ipv4:
      return fromIp(frame)
    case linkTypes.linuxAny:
      return frame.length > 16 && view.getUint16(14) === 0x0800 ? fromIp(frame.subarray(16)) : undefined
    case linkTypes.linuxAny2:
      return frame.length > 20 && view.getUint16(0) === 0x0800 ? fromIp(frame.subarray(20)) : undefined
    case linkTypes.ethernet: {
      let at = 12
      while (at + 6 < frame.length && (view.getUint16(at) === 0x8100 || view.getUint16(at) === 0x88a8))
        at += 4
      return at + 2 < frame.length && view.getUint16(at) === 0x0800
        ? fromIp(frame.subarray(at + 2))
        : undefined
    }
    default:
      return undefined
  }
}

/** RFC 791 §3.1, RFC 768. Undefined for anything but a whole UDP datagram of DHCP. */
function fromIp(bytes: Uint8Array): CapturedPacket | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (bytes.length < 28 || bytes[0]! >> 4 !== 4 || bytes[9] !== 17) return undefined
  const headerBytes = (bytes[0]! & 15) * 4
  const isFragment = (view.getUint16(6) & 0x3fff) !== 0
  if (headerBytes < 20 || isFragment || bytes.length < headerBytes + 8) return undefined
  const [from, to] = [view.getUint16(headerBytes), view.getUint16(headerBytes + 2)]
  if (!dhcpPorts.has(from) && !dhcpPorts.has(to)) return undefined
  const length = view.getUint16(headerBytes + 4)
  if (length < 8) return undefined
  return {
    bytes: bytes.subarray(headerBytes + 8, Math.min(bytes.length, headerBytes + length)),
    from: { address: readAddress(bytes, 12), port: from },
    to: { address: readAddress(bytes, 16), port: to },
  }
}
