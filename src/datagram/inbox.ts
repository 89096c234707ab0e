/**
 * Where datagrams arrive, up to 64 with one call. All sockets share it: what arrived is looked at before the next call.
 *
 *   mmsghdr   | 8 address | u32 its length | 4 | 8 iovecs | u64 count | 8 control | u64 its length | i32 flags | 4 | u32 received | 4 |
 */
import type { Libc } from './libc.ts'
import { NativeMemory } from './native-memory.ts'
import { SocketPeer, sourceOf } from './socket-address.ts'

export const messageBytes = 64
export const vectorBytes = 16
const slots = 64
const addressBytes = 32
const controlBytes = 64

const vectorsAt = slots * messageBytes
const addressesAt = vectorsAt + slots * vectorBytes
const controlsAt = addressesAt + slots * addressBytes
const payloadsAt = controlsAt + slots * controlBytes

export class Inbox {
  readonly #libc: Libc
  readonly #memory: NativeMemory
  readonly #payloadBytes: number
  /** Views of four bytes in each slot: nearly all that comes to a TFTP server is an ACK. */
  readonly #fours: Uint8Array[]

  /** @param payloadBytes a datagram that is longer is cut off: ask for one byte more than is taken, and it is seen to be too long. */
  constructor(libc: Libc, payloadBytes: number) {
    this.#libc = libc
    this.#payloadBytes = payloadBytes
    const memory = new NativeMemory(libc, payloadsAt + slots * payloadBytes)
    this.#memory = memory
    for (let slot = 0; slot < slots; slot += 1) {
      const message = slot * messageBytes
      const vector = vectorsAt + slot * vectorBytes
      memory.u64(message, memory.address + addressesAt + slot * addressBytes)
      memory.u64(message + 16, memory.address + vector)
      memory.u64(message + 24, 1)
      memory.u64(message + 32, memory.address + controlsAt + slot * controlBytes)
      memory.u64(vector, memory.address + payloadsAt + slot * payloadBytes)
      memory.u64(vector + 8, payloadBytes)
      this.#reset(slot)
    }
    this.#fours = Array.from({ length: slots }, (_, slot) => this.#view(slot, 4))
  }

  /** How many arrived; `most` of them mean that there may be more. Errors of a UDP socket are about what was sent, and over by now. */
  receive(fd: number, most = slots): number {
    const count = this.#libc.recvmmsg(fd, this.#memory.address, most, 0, 0)
    return count < 0 ? 0 : count
  }

  /** Valid until the slot is released. */
  bytes(slot: number): Uint8Array {
    const length = this.#memory.u32[(slot * messageBytes + 56) >> 2] as number
    return length === 4 ? (this.#fours[slot] as Uint8Array) : this.#view(slot, length)
  }

  /**
   * The sender as a key of a map: a number for IPv4, however the socket reports it. The words are in network order, and only
   * compared.
   */
  key(slot: number): number | string {
    const { u16, u32 } = this.#memory
    const at = addressesAt + slot * addressBytes
    const port = u16[(at + 2) >> 1] as number
    if (u16[at >> 1] === 2) return (u32[(at + 4) >> 2] as number) * 65_536 + port
    const word = at >> 2
    if (u32[word + 2] === 0 && u32[word + 3] === 0 && u32[word + 4] === 0xffff_0000)
      return (u32[word + 5] as number) * 65_536 + port
    return `${u32.subarray(word + 2, word + 7).join()} ${port}`
  }

  peer(slot: number): SocketPeer {
    const { bytes, u32 } = this.#memory
    const at = addressesAt + slot * addressBytes
    const control = controlsAt + slot * controlBytes
    const controlLength = u32[(slot * messageBytes + 40) >> 2] as number
    return new SocketPeer(
      bytes.slice(at, at + (u32[(slot * messageBytes + 8) >> 2] as number)),
      sourceOf(bytes.subarray(control, control + Math.min(controlLength, controlBytes))),
    )
  }

  /** Makes slots ready again: the kernel wrote lengths into them. */
  release(count: number): void {
    for (let slot = 0; slot < count; slot += 1) this.#reset(slot)
  }

  #reset(slot: number): void {
    const word = (slot * messageBytes) >> 2
    this.#memory.u32[word + 2] = addressBytes
    this.#memory.u32[word + 10] = controlBytes
  }

  #view(slot: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.bytes.buffer, payloadsAt + slot * this.#payloadBytes, length)
  }
}

export const inboxSlots = slots
