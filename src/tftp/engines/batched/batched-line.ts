/** A transfer's line on a socket that many share: the client's address in native memory, and a file that may be mapped. */

import type { Libc } from '../../../datagram/libc.ts'
import { NativeMemory } from '../../../datagram/native-memory.ts'
import type { Destination } from '../../../datagram/outbox.ts'
import { type SocketPeer, writeSegmentSize } from '../../../datagram/socket-address.ts'
import { MusterError } from '../../../errors.ts'
import type { Blocks, Line, LineOptions } from '../../engine.ts'
import type { TftpFile } from '../../file.ts'
import { dataHeaderBytes } from '../../packet.ts'
import type { BatchSocket } from './batch-socket.ts'
import type { MappedFile, MappedFiles } from './mapped-files.ts'

export type BatchedLineOptions = LineOptions & {
  libc: Libc
  to: SocketPeer
  socket: BatchSocket
  files: MappedFiles
  segments: boolean
  onClose: () => void
  /** Its client also wrote to ports where it has nothing: somebody tries them all, in its name. */
  onGuessed: () => void
  /** A promise is about to be settled. */
  onEnd: () => void
}

/** One or two may be late datagrams of a transfer that nobody remembers. */
const straysThatEnd = 3

export class BatchedLine implements Line, Destination {
  readonly address: number
  readonly addressBytes: number
  readonly control: number
  readonly sourceBytes: number
  segmentBytes = 0
  segments: boolean
  readonly onDatagram: (bytes: Uint8Array) => void
  readonly #options: BatchedLineOptions
  readonly #memory: NativeMemory
  #strays = 0
  #closed = false

  constructor(options: BatchedLineOptions) {
    const { raw, source } = options.to
    this.#options = options
    this.#memory = new NativeMemory(options.libc, 128)
    this.#memory.bytes.set(raw, 0)
    this.#memory.bytes.set(source, 32)
    this.address = this.#memory.address
    this.addressBytes = raw.byteLength
    this.control = this.#memory.address + 32
    this.sourceBytes = source.byteLength
    this.segments = options.segments
    this.onDatagram = options.onDatagram
  }

  send(datagrams: readonly Uint8Array[]): void {
    if (this.#closed) return
    for (const datagram of datagrams) this.#options.socket.outbox.add(datagram, this)
  }

  map(file: TftpFile, blockBytes: number): Blocks | undefined {
    if (file.descriptor === undefined) return undefined
    const mapped = this.#options.files.open(file.descriptor, file.size)
    if (mapped === undefined) return undefined
    const view = new DataView(this.#memory.bytes.buffer)
    this.segmentBytes =
      this.sourceBytes + writeSegmentSize(view, 32 + this.sourceBytes, blockBytes + dataHeaderBytes)
    return new MappedBlocks({
      line: this,
      mapped,
      descriptor: file.descriptor,
      blockBytes,
      socket: this.#options.socket,
    })
  }

  /** A datagram of its client came to another port; attacker-controlled. */
  strayed(): void {
    this.#strays += 1
    if (this.#strays !== straysThatEnd) return
    this.#options.onGuessed()
    this.#options.onError(guessed())
  }

  onUnreadable(): void {
    this.#options.onError(changed())
  }

  async close(): Promise<void> {
    this.#options.onEnd()
    if (this.#closed) return
    this.#closed = true
    // What waits in the outbox points at memory of ours, and at the file's pages.
    this.#options.socket.outbox.flush()
    this.#options.onClose()
  }
}

type MappedBlocksOptions = {
  line: BatchedLine
  mapped: MappedFile
  descriptor: number
  blockBytes: number
  socket: BatchSocket
}

class MappedBlocks implements Blocks {
  readonly lastBlock: number
  readonly #options: MappedBlocksOptions
  #closed = false

  constructor(options: MappedBlocksOptions) {
    this.#options = options
    this.lastBlock = Math.floor(options.mapped.size / options.blockBytes) + 1
  }

  get loadedBlocks(): number {
    return this.lastBlock
  }

  want(): void {}

  send(first: number, last: number): void {
    const { line, mapped, descriptor, blockBytes, socket } = this.#options
    // Not below the file's beginning, nor behind its end: these become addresses.
    if (this.#closed || first < 1 || last > this.lastBlock || first > last) return
    const isEnd = last === this.lastBlock
    // The size was promised to the client as tsize: a file that changed on the way must not look complete.
    if (isEnd && !mapped.unchanged(descriptor)) {
      line.onUnreadable()
      return
    }
    const run = {
      address: mapped.address + (first - 1) * blockBytes,
      first,
      blocks: last - first + 1,
      blockBytes,
      lastBytes: isEnd ? mapped.size - (last - 1) * blockBytes : blockBytes,
    }
    socket.outbox.addBlocks(run, line)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#options.socket.outbox.flush()
    this.#options.mapped.release()
  }
}

function changed(): MusterError {
  return new MusterError(
    'transfer-failed',
    'The file changed while it was sent; the client may ask again and gets it as it is now',
  )
}

function guessed(): MusterError {
  return new MusterError(
    'transfer-failed',
    'Datagrams with the address of this client came to ports where it has no transfer: they may be forged, to have it flooded; the client may ask again',
  )
}
