/**
 * Makes of QEMU's PXE ROM one that is not iPXE, as far as a DHCP server can see. No other ROM is free to have, and iPXE's does all
 * that a plain one does (DHCP as PXEClient, TFTP, UNDI for what it loads); but it says that it is iPXE, in option 77 (user class)
 * and option 175 (its features), and is then never given undionly.kpxe. Both are taken out of its packets on the way, until it
 * has asked for a loader: what runs from then on speaks for itself.
 */
import { options } from '../../src/dhcp/options.ts'
import { encodePacket, parsePacket } from '../../src/dhcp/packet.ts'

const ethernetBytes = 14
const udpBytes = 8
const dhcpServerPort = 67
const tftpPort = 69
const readRequest = 1
/** The ROM says in option 57 what it takes; what it sends is never longer. */
const packetBytesMax = 1472

/** @param loader the file that the ROM is to be given: `undionly.kpxe`. */
export function plainRom(loader: string): (frame: Buffer) => Buffer {
  let loaded = false
  return (frame) => {
    const udp = loaded ? undefined : udpOf(frame)
    if (udp === undefined) return frame
    if (udp.port === tftpPort) {
      const name = udp.payload.toString('latin1', 2).split('\0')[0]
      loaded = udp.payload.readUInt16BE() === readRequest && name === loader
      return frame
    }
    return udp.port === dhcpServerPort ? withPayload(frame, udp, silent(udp.payload)) : frame
  }
}

type Udp = { at: number; port: number; payload: Buffer }

/** An IPv4 packet's UDP, unfragmented; `at` is where its header begins. */
function udpOf(frame: Buffer): Udp | undefined {
  if (frame.length < ethernetBytes + 20 + udpBytes || frame.readUInt16BE(12) !== 0x0800) return undefined
  const at = ethernetBytes + (frame.readUInt8(ethernetBytes) & 0x0f) * 4
  if (frame.readUInt8(ethernetBytes + 9) !== 17) return undefined
  const end = at + frame.readUInt16BE(at + 4)
  return { at, port: frame.readUInt16BE(at + 2), payload: frame.subarray(at + udpBytes, end) }
}

function silent(payload: Buffer): Uint8Array {
  const packet = parsePacket(payload)
  const kept = [...packet.options].filter(([code]) => code !== options.userClass && code !== options.ipxe)
  return encodePacket({ ...packet, options: new Map(kept) }, packetBytesMax)
}

function withPayload(frame: Buffer, { at }: Udp, payload: Uint8Array): Buffer {
  const changed = Buffer.concat([frame.subarray(0, at + udpBytes), payload])
  changed.writeUInt16BE(udpBytes + payload.length, at + 4)
  // RFC 768: no sum was made.
  changed.writeUInt16BE(0, at + 6)
  changed.writeUInt16BE(changed.length - ethernetBytes, ethernetBytes + 2)
  changed.writeUInt16BE(0, ethernetBytes + 10)
  changed.writeUInt16BE(internetChecksum(changed.subarray(ethernetBytes, at)), ethernetBytes + 10)
  return changed
}

/** RFC 1071, over an even number of bytes. */
function internetChecksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
