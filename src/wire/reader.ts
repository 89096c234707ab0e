/**
 * Reads numbers and byte strings out of a packet, and never past its end.
 *
 * The bytes are attacker-controlled, so every read checks what is left first and throws one of our errors; nothing
 * here returns `undefined` for a missing byte. Byte strings are views into the packet, not copies: copy what has to
 * outlive it. Pure ECMAScript (no Buffer, no TextDecoder), because the agent reads with it under QuickJS.
 */
import { type ErrorCode, MusterError } from '../errors.ts'

export type ByteReaderOptions = {
  /** What is being read, for the error's sentence: `RRQ`, `DHCP option 43`, `TPMS_ATTEST`. */
  what?: string
  /** The code to throw; `packet-invalid` unless the caller has a closer one. */
  code?: ErrorCode
}

export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #what: string
  readonly #code: ErrorCode
  #offset = 0

  constructor(bytes: Uint8Array, options: ByteReaderOptions = {}) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = options.what ?? 'packet'
    this.#code = options.code ?? 'packet-invalid'
  }

  /** Bytes consumed so far. */
  get offset(): number {
    return this.#offset
  }

  /** Bytes not yet consumed. */
  get remaining(): number {
    return this.#bytes.byteLength - this.#offset
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  /** Big-endian, the network's order; the `le` forms are for TCG event logs and other PC structures. */
  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8))
  }

  u16le(): number {
    return this.#view.getUint16(this.#take(2), true)
  }

  u32le(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  u64le(): bigint {
    return this.#view.getBigUint64(this.#take(8), true)
  }

  /** The next `length` bytes as a view. A length that was itself read from the packet is safe to give here. */
  bytes(length: number): Uint8Array {
    if (!Number.isInteger(length) || length < 0)
      throw this.#fail(`a length of ${length} bytes was asked for`, {})
    const start = this.#take(length)
    return this.#bytes.subarray(start, start + length)
  }

  /** Everything that is left, possibly nothing. */
  rest(): Uint8Array {
    return this.bytes(this.remaining)
  }

  skip(length: number): void {
    this.bytes(length)
  }

  /** The bytes before the next zero byte, which is consumed too. `maxLength` does not count the zero. */
  untilZero(maxLength: number): Uint8Array {
    const end = this.#bytes.indexOf(0, this.#offset)
    if (end < 0) throw this.#fail(`no zero byte ends the string at offset ${this.#offset}`, {})
    const length = end - this.#offset
    if (length > maxLength)
      throw this.#fail(
        `the string at offset ${this.#offset} has ${length} bytes, at most ${maxLength} are taken`,
        {
          expected: maxLength,
          found: length,
        },
      )
    const text = this.bytes(length)
    this.#offset += 1
    return text
  }

  /** @throws when bytes are left: for structures whose length is part of their meaning. */
  expectEnd(): void {
    if (this.remaining > 0)
      throw this.#fail(`${this.remaining} bytes follow the end at offset ${this.#offset}`, {
        expected: 0,
        found: this.remaining,
      })
  }

  #take(length: number): number {
    if (length > this.remaining)
      throw this.#fail(
        `${length} bytes were expected at offset ${this.#offset}, ${this.remaining} are left`,
        {
          expected: length,
          found: this.remaining,
        },
      )
    const start = this.#offset
    this.#offset += length
    return start
  }

  #fail(reason: string, details: Record<string, unknown>): MusterError {
    return new MusterError(this.#code, `${this.#what} is malformed: ${reason}`, {
      details: { what: this.#what, offset: this.#offset, ...details },
    })
  }
}
