/**
 * The file of one transfer as DATA packets, read before they are needed.
 *
 * A strip is a stretch of blocks in one buffer, each block behind its DATA header, so that sending and sending again
 * copy nothing. While one strip goes out the next is read; strips that were acknowledged are dropped.
 */
import { MusterError } from '../errors.ts'
import type { Blocks, Line } from './engine.ts'
import type { TftpFile } from './file.ts'
import { encodeNetascii } from './netascii.ts'
import { dataHeaderBytes, writeDataHeader } from './packet.ts'

export type ReadAheadOptions = {
  file: TftpFile
  line: Pick<Line, 'send'>
  mode: 'octet' | 'netascii'
  blockBytes: number
  windowBlocks: number
  /** About how much file a strip holds; at least one window. Two or three strips are held at a time. */
  stripBytes: number
  /** Called after `loadedBlocks` grew. */
  onLoaded: () => void
  onFailed: (error: unknown) => void
}

type Strip = { firstBlock: number; blocks: number; buffer: ArrayBuffer; lastPacketBytes: number }

export class ReadAhead implements Blocks {
  readonly #options: ReadAheadOptions
  readonly #blocksPerStrip: number
  readonly #packetBytes: number
  #strips: Strip[] = []
  #loadedBlocks = 0
  #lastBlock: number | undefined
  #fileOffset = 0
  /** netascii that was encoded but did not fit the strip before. */
  #encoded: Uint8Array = new Uint8Array(0)
  #loading: Promise<void> | undefined
  #closed = false

  constructor(options: ReadAheadOptions) {
    this.#options = options
    this.#packetBytes = options.blockBytes + dataHeaderBytes
    this.#blocksPerStrip = Math.max(
      options.windowBlocks,
      Math.floor(options.stripBytes / options.blockBytes),
      1,
    )
  }

  get loadedBlocks(): number {
    return this.#loadedBlocks
  }

  get lastBlock(): number | undefined {
    return this.#lastBlock
  }

  /** Blocks from `base` on are wanted: forgets those before, and reads on when less than a strip is in hand. */
  want(base: number): void {
    let strip = this.#strips[0]
    while (strip !== undefined && strip.firstBlock + strip.blocks <= base) {
      this.#strips.shift()
      strip = this.#strips[0]
    }
    if (this.#loading !== undefined || this.#closed || this.#lastBlock !== undefined) return
    if (this.#loadedBlocks - base + 1 >= this.#blocksPerStrip + this.#options.windowBlocks) return
    this.#loading = this.#load().then(
      () => {
        this.#loading = undefined
        if (!this.#closed) this.#options.onLoaded()
      },
      (error: unknown) => {
        this.#loading = undefined
        if (!this.#closed) this.#options.onFailed(error)
      },
    )
  }

  /** `first` to `last` are loaded and not below the last `want`. */
  send(first: number, last: number): void {
    this.#options.line.send(this.#packets(first, last))
  }

  #packets(first: number, last: number): Uint8Array[] {
    const packets: Uint8Array[] = []
    for (const strip of this.#strips) {
      const from = Math.max(first, strip.firstBlock)
      const to = Math.min(last, strip.firstBlock + strip.blocks - 1)
      for (let block = from; block <= to; block += 1) {
        const start = (block - strip.firstBlock) * this.#packetBytes
        const length = block === this.#lastBlock ? strip.lastPacketBytes : this.#packetBytes
        // Not subarray(): a plain view takes half the time of a Buffer's.
        packets.push(new Uint8Array(strip.buffer, start, length))
      }
    }
    return packets
  }

  /** Drops everything; settles when no read is under way any more, so that the file can be closed. */
  async close(): Promise<void> {
    this.#closed = true
    this.#strips = []
    await this.#loading
  }

  async #load(): Promise<void> {
    const { blockBytes } = this.#options
    const wanted = this.#blocksPerStrip * blockBytes
    const content =
      this.#options.mode === 'octet' ? await this.#readOctet(wanted) : await this.#readNetascii(wanted)
    if (this.#closed) return
    const isEnd = content.length < wanted
    const blocks = isEnd ? Math.floor(content.length / blockBytes) + 1 : this.#blocksPerStrip
    const firstBlock = this.#loadedBlocks + 1
    const bytes = Buffer.allocUnsafeSlow(content.length + blocks * dataHeaderBytes)
    for (let index = 0; index < blocks; index += 1) {
      const at = index * this.#packetBytes
      writeDataHeader(bytes, at, firstBlock + index)
      content.copy(bytes, at + dataHeaderBytes, index * blockBytes, (index + 1) * blockBytes)
    }
    const lastPacketBytes = dataHeaderBytes + (content.length - (blocks - 1) * blockBytes)
    this.#strips.push({ firstBlock, blocks, buffer: bytes.buffer, lastPacketBytes })
    this.#loadedBlocks += blocks
    if (isEnd) this.#lastBlock = this.#loadedBlocks
  }

  /** `wanted` bytes, or what is left of the file. */
  async #readOctet(wanted: number): Promise<Buffer> {
    const { file } = this.#options
    const length = Math.min(wanted, file.size - this.#fileOffset)
    const parts: Uint8Array[] = []
    let have = 0
    while (have < length) {
      const part = await file.read(this.#fileOffset, length - have)
      // The size was promised to the client as tsize: a file that ends before it must not look complete.
      if (part.byteLength === 0 || part.byteLength > length - have)
        throw new MusterError(
          'transfer-failed',
          `The file was announced with ${file.size} bytes, a read of ${length - have} at offset ${this.#fileOffset} gave ${part.byteLength}; it changed while it was sent`,
          { details: { expected: length - have, found: part.byteLength } },
        )
      parts.push(part)
      have += part.byteLength
      this.#fileOffset += part.byteLength
    }
    const [only] = parts
    if (parts.length === 1 && only !== undefined)
      return Buffer.from(only.buffer, only.byteOffset, only.byteLength)
    return Buffer.concat(parts)
  }

  async #readNetascii(wanted: number): Promise<Buffer> {
    while (this.#encoded.byteLength < wanted && this.#fileOffset < this.#options.file.size)
      this.#encoded = Buffer.concat([this.#encoded, encodeNetascii(await this.#readOctet(wanted))])
    const content = Buffer.from(this.#encoded.subarray(0, wanted))
    this.#encoded = this.#encoded.subarray(wanted)
    return content
  }
}
