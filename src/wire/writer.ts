/**
 * Builds a packet from numbers and byte strings, and never beyond its limit.
 *
 * Every value is checked against the width of its field: a number that does not fit is an error, never cut off
 * silently. Pure ECMAScript, because the agent writes with it under QuickJS.
 */
import { type ErrorCode, MusterError } from '../errors.ts'

export type ByteWriterOptions = {
  /** The packet's greatest length in bytes. */
  limitBytes: number
  /** What is being written, for the error's sentence. */
  what?: string
  /** The code to throw; `packet-invalid` unless the caller has a closer one. */
  code?: ErrorCode
}

export class ByteWriter {
  readonly #limitBytes: number
  readonly #what: string
  readonly #code: ErrorCode
  #bytes: Uint8Array<ArrayBuffer>
  #view: DataView
  #length = 0

  constructor(options: ByteWriterOptions) {
    this.#limitBytes = options.limitBytes
    this.#what = options.what ?? 'packet'
    this.#code = options.code ?? 'packet-invalid'
    this.#bytes = new Uint8Array(Math.min(64, options.limitBytes))
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  u8(value: number): this {
    this.#check(value, 0xff)
    const at = this.#grow(1)
    this.#view.setUint8(at, value)
    return this
  }

  u16(value: number): this {
    this.#check(value, 0xffff)
    const at = this.#grow(2)
    this.#view.setUint16(at, value)
    return this
  }

  u32(value: number): this {
    this.#check(value, 0xffffffff)
    const at = this.#grow(4)
    this.#view.setUint32(at, value)
    return this
  }

  u64(value: bigint): this {
    this.#checkBig(value)
    const at = this.#grow(8)
    this.#view.setBigUint64(at, value)
    return this
  }

  u16le(value: number): this {
    this.#check(value, 0xffff)
    const at = this.#grow(2)
    this.#view.setUint16(at, value, true)
    return this
  }

  u32le(value: number): this {
    this.#check(value, 0xffffffff)
    const at = this.#grow(4)
    this.#view.setUint32(at, value, true)
    return this
  }

  u64le(value: bigint): this {
    this.#checkBig(value)
    const at = this.#grow(8)
    this.#view.setBigUint64(at, value, true)
    return this
  }

  bytes(value: Uint8Array): this {
    const at = this.#grow(value.byteLength)
    this.#bytes.set(value, at)
    return this
  }

  zeros(count: number): this {
    this.#grow(count)
    return this
  }

  /** The bytes and a zero byte after them. @throws when a zero byte stands inside: the reader would stop there. */
  zeroTerminated(value: Uint8Array): this {
    if (value.includes(0)) throw this.#fail('a zero-terminated string holds a zero byte itself', {})
    return this.bytes(value).u8(0)
  }

  /** The packet, as a copy of its own that later writes do not touch. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length)
  }

  /** Where the next `count` bytes go. It may replace #bytes and #view: call it before naming either. */
  #grow(count: number): number {
    const start = this.#length
    const wanted = start + count
    if (wanted > this.#limitBytes)
      throw this.#fail(`it would have ${wanted} bytes, at most ${this.#limitBytes} fit`, {
        expected: this.#limitBytes,
        found: wanted,
      })
    if (wanted > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.min(this.#limitBytes, Math.max(wanted, this.#bytes.byteLength * 2)))
      larger.set(this.#bytes.subarray(0, start))
      this.#bytes = larger
      this.#view = new DataView(larger.buffer)
    }
    this.#length = wanted
    return start
  }

  #check(value: number, max: number): void {
    if (!Number.isInteger(value) || value < 0 || value > max)
      throw this.#fail(`${value} does not fit a field of 0 to ${max}`, { expected: max, found: value })
  }

  #checkBig(value: bigint): void {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn)
      throw this.#fail(`${value} does not fit an unsigned field of 64 bits`, { found: String(value) })
  }

  #fail(reason: string, details: Record<string, unknown>): MusterError {
    return new MusterError(this.#code, `${this.#what} cannot be written: ${reason}`, {
      details: { what: this.#what, ...details },
    })
  }
}
