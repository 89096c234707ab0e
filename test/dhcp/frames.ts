/** What a wire and tcpdump put around a payload. */
import { addressBytes } from '../../src/dhcp/address.ts'

type End = { address: string; port: number }

/** An IPv4 packet with a UDP datagram; checksums are left out, as captures on the sender's own machine have them. */
export function datagram(payload: Uint8Array, { from, to }: { from: End; to: End }): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(28 + payload.length)
  const view = new DataView(bytes.buffer)
  bytes[0] = 0x45
  view.setUint16(2, bytes.length)
  bytes[8] = 64
  bytes[9] = 17
  bytes.set(addressBytes(from.address, to.address), 12)
  view.setUint16(20, from.port)
  view.setUint16(22, to.port)
  view.setUint16(24, 8 + payload.length)
  bytes.set(payload, 28)
  return bytes
}

export function ethernet(ip: Uint8Array, tags: readonly number[] = []): Uint8Array<ArrayBuffer> {
  const vlan = tags.flatMap((tag) => [tag >> 8, tag & 255, 0, 7])
  return Uint8Array.from([...Array(6).fill(255), 0x52, 0x54, 0, 1, 2, 3, ...vlan, 8, 0, ...ip])
}

/** Classic pcap; every packet was seen half a second after 1,700,000,000. */
export function capture(
  frames: readonly Uint8Array[],
  { link, little = true, nanoseconds = false }: { link: number; little?: boolean; nanoseconds?: boolean },
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(24 + frames.reduce((sum, { length }) => sum + 16 + length, 0))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, little)
  view.setUint32(20, link, little)
  let at = 24
  for (const frame of frames) {
    view.setUint32(at, 1_700_000_000, little)
    view.setUint32(at + 4, nanoseconds ? 500_000_000 : 500_000, little)
    view.setUint32(at + 8, frame.length, little)
    view.setUint32(at + 12, frame.length, little)
    bytes.set(frame, at + 16)
    at += 16 + frame.length
  }
  return bytes
}
