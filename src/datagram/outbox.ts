/**
 * What goes out from one socket with the next sendmmsg. Small datagrams are copied in; blocks of a mapped file are two
 * pieces each, a header out of a table of all 65 536 and the octets where they are, and are not touched here at all.
 *
 * With UDP_SEGMENT the blocks of a window are one message, which the kernel cuts into datagrams as late as it can.
 */
import { messageBytes, vectorBytes } from './inbox.ts'
import { errno, type Libc, pollOut } from './libc.ts'
import { NativeMemory } from './native-memory.ts'
import { addressBytesMax, controlBytesMax } from './socket-address.ts'

/** Where messages go: addresses of a sockaddr and of control messages in native memory. */
export type Destination = {
  readonly address: number
  readonly addressBytes: number
  /** What chooses the source address, if anything; right behind it stands the segment size. */
  readonly control: number
  readonly sourceBytes: number
  readonly segmentBytes: number
  /** Whether windows go out as one message; switched off where the path refuses it. */
  segments: boolean
  /** The kernel could not read what was to be sent: the file became shorter. */
  onUnreadable(): void
}

/** Blocks of a mapped file: `address` is of the first. */
export type Run = { address: number; first: number; blocks: number; blockBytes: number; lastBytes: number }

const messages = 64
const scratchBytes = 128
/** UDP_MAX_SEGMENTS of kernels before 6.9, and what one IP packet carries. */
const segmentsMax = 64
const segmentedBytesMax = 65_000

/** The least that `vectors` and `stagingBytes` can be: one message of the most segments, and one datagram of any size. */
const sizes = {
  many: { vectors: 4096, stagingBytes: 128 * 1024 },
  one: { vectors: 4 * segmentsMax, stagingBytes: 68 * 1024 },
}

const scratchAt = messages * messageBytes
const pollAt = scratchAt + messages * scratchBytes
const timeAt = pollAt + 8
const vectorsAt = timeAt + 16

/** The headers of blocks 0 to 65 535, one after the other. */
export type Headers = { memory: NativeMemory; bytesEach: number }

export type OutboxOptions = {
  /** What stands before a block; without it there are none to send. */
  headers?: Headers
  /** What it has room for: what `many` clients are sent at once, or `one`; many unless said. */
  room?: keyof typeof sizes
  /** How long a full send buffer is waited for, with everything else standing still. */
  writableWithinMs: number
}

export class Outbox {
  readonly #libc: Libc
  readonly #fd: number
  readonly #options: OutboxOptions
  readonly #memory: NativeMemory
  readonly #size: { vectors: number; stagingBytes: number }
  readonly #stagingAt: number
  #messages = 0
  #vectors = 0
  #staged = 0
  readonly #destinations: Destination[] = []
  /** The blocks of each message that is a run of them. */
  readonly #runs: (Run | undefined)[] = []
  /** To be sent once more, block by block. */
  readonly #again: { run: Run; to: Destination }[] = []
  readonly #unreadable: Destination[] = []
  #dropped = 0

  constructor(libc: Libc, fd: number, options: OutboxOptions) {
    this.#libc = libc
    this.#fd = fd
    this.#options = options
    this.#size = sizes[options.room ?? 'many']
    this.#stagingAt = vectorsAt + this.#size.vectors * vectorBytes
    this.#memory = new NativeMemory(libc, this.#stagingAt + this.#size.stagingBytes)
  }

  get isEmpty(): boolean {
    return this.#messages === 0
  }

  /** Messages that wait for a flush. */
  get waiting(): number {
    return this.#messages
  }

  /** Datagrams that the kernel did not take; UDP may lose them. */
  get dropped(): number {
    return this.#dropped
  }

  /** Sends to an address that has no place of its own in native memory. */
  reply(datagram: Uint8Array, to: { raw: Uint8Array; source: Uint8Array }): void {
    if (!this.#hasRoom(1, datagram.byteLength)) this.flush()
    this.add(datagram, this.#scratch(to.raw, to.source))
  }

  /** A destination that lives until the next flush. */
  #scratch(raw: Uint8Array, source: Uint8Array): Destination {
    const at = scratchAt + this.#messages * scratchBytes
    this.#memory.bytes.set(raw.subarray(0, addressBytesMax), at)
    this.#memory.bytes.set(source.subarray(0, controlBytesMax), at + 32)
    const address = this.#memory.address + at
    return {
      ...{ address, addressBytes: raw.byteLength, control: address + 32, sourceBytes: source.byteLength },
      ...{ segmentBytes: 0, segments: false, onUnreadable: () => {} },
    }
  }

  add(datagram: Uint8Array, to: Destination): void {
    if (!this.#hasRoom(1, datagram.byteLength)) this.flush()
    const at = this.#stagingAt + this.#staged
    this.#memory.bytes.set(datagram, at)
    this.#staged += (datagram.byteLength + 7) & ~7
    this.#vector(this.#memory.address + at, datagram.byteLength)
    this.#message(to, 1, to.sourceBytes, undefined)
  }

  addBlocks(run: Run, to: Destination): void {
    const { headers } = this.#options
    if (headers === undefined) throw new Error('blocks were to be sent, and there are no headers for them')
    const { bytesEach, memory } = headers
    const eachBytes = run.blockBytes + bytesEach
    // At least one: a block may be larger than what is cut up at all.
    const segments = Math.max(1, Math.min(segmentsMax, Math.floor(segmentedBytesMax / eachBytes)))
    const most = to.segments ? segments : 1
    for (let done = 0; done < run.blocks; ) {
      const blocks = Math.min(most, run.blocks - done)
      const isLast = done + blocks === run.blocks
      const part: Run = {
        address: run.address + done * run.blockBytes,
        first: run.first + done,
        blocks,
        blockBytes: run.blockBytes,
        lastBytes: isLast ? run.lastBytes : run.blockBytes,
      }
      if (!this.#hasRoom(2 * blocks, 0)) this.flush()
      const { address, first, blockBytes, lastBytes } = part
      for (let index = 0; index < blocks; index += 1) {
        this.#vector(memory.address + ((first + index) & 0xffff) * bytesEach, bytesEach)
        this.#vector(address + index * blockBytes, index === blocks - 1 ? lastBytes : blockBytes)
      }
      this.#message(to, 2 * blocks, blocks > 1 ? to.segmentBytes : to.sourceBytes, part)
      done += blocks
    }
  }

  flush(): void {
    const count = this.#messages
    const { address } = this.#memory
    let waited = false
    for (let sent = 0; sent < count; ) {
      const taken = this.#libc.sendmmsg(this.#fd, address + sent * messageBytes, count - sent, 0)
      if (taken > 0) {
        sent += taken
        continue
      }
      const reason = this.#libc.errno()
      if (reason === errno.interrupted) continue
      if (reason === errno.again && !waited && this.#waitUntilWritable()) {
        waited = true
        continue
      }
      waited = false
      this.#refused(sent, reason)
      sent += 1
    }
    this.#messages = 0
    this.#vectors = 0
    this.#staged = 0
    if (this.#again.length > 0 || this.#unreadable.length > 0) this.#afterRefusals()
  }

  #afterRefusals(): void {
    const again = this.#again.splice(0)
    for (const { run, to } of again) this.addBlocks(run, to)
    if (again.length > 0) this.flush()
    // Only now: what they do may well be sending.
    for (const to of this.#unreadable.splice(0)) to.onUnreadable()
  }

  /** The kernel did not take this message. */
  #refused(message: number, reason: number): void {
    const to = this.#destinations[message]
    const run = this.#runs[message]
    // A block that does not fit the path's MTU, a device without checksums, a kernel without UDP_SEGMENT: each for itself from
    // now on, in fragments if need be.
    const isRefusal = [errno.invalid, errno.io, errno.noOption, errno.tooLong].includes(reason)
    if (to !== undefined && run !== undefined && run.blocks > 1 && isRefusal) {
      to.segments = false
      this.#again.push({ run, to })
      return
    }
    this.#dropped += run?.blocks ?? 1
    if (to !== undefined && run !== undefined && reason === errno.fault) this.#unreadable.push(to)
  }

  /** The send buffer is full: the network is the bound. Waiting a moment is what keeps the order and the turns. */
  #waitUntilWritable(): boolean {
    const { address, u32 } = this.#memory
    u32[pollAt >> 2] = this.#fd
    u32[(pollAt + 4) >> 2] = pollOut
    this.#memory.u64(timeAt, 0)
    this.#memory.u64(timeAt + 8, this.#options.writableWithinMs * 1_000_000)
    return this.#libc.ppoll(address + pollAt, 1, address + timeAt, 0) > 0
  }

  #hasRoom(vectorCount: number, bytes: number): boolean {
    const { stagingBytes, vectors } = this.#size
    return (
      this.#messages < messages &&
      this.#vectors + vectorCount <= vectors &&
      this.#staged + bytes <= stagingBytes
    )
  }

  #vector(address: number, length: number): void {
    const at = vectorsAt + this.#vectors * vectorBytes
    this.#memory.u64(at, address)
    this.#memory.u64(at + 8, length)
    this.#vectors += 1
  }

  /** The last `vectorCount` vectors as one message. */
  #message(to: Destination, vectorCount: number, controlBytes: number, run: Run | undefined): void {
    const memory = this.#memory
    const at = this.#messages * messageBytes
    memory.u64(at, to.address)
    memory.u32[(at + 8) >> 2] = to.addressBytes
    memory.u64(at + 16, memory.address + vectorsAt + (this.#vectors - vectorCount) * vectorBytes)
    memory.u64(at + 24, vectorCount)
    memory.u64(at + 32, controlBytes === 0 ? 0 : to.control)
    memory.u64(at + 40, controlBytes)
    this.#destinations[this.#messages] = to
    this.#runs[this.#messages] = run
    this.#messages += 1
  }
}
