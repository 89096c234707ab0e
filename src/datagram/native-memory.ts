/** Memory that system calls read and write: its address stays, and lives as long as this object does. */
import type { Libc } from './libc.ts'

export class NativeMemory {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  readonly address: number

  constructor(libc: Pick<Libc, 'addressOf'>, size: number) {
    this.bytes = new Uint8Array(new ArrayBuffer(Math.ceil(size / 8) * 8))
    this.u16 = new Uint16Array(this.bytes.buffer)
    this.u32 = new Uint32Array(this.bytes.buffer)
    this.address = libc.addressOf(this.bytes)
  }

  /** A 64-bit number, as pointers and `size_t` are, at an offset divisible by 4. Both architectures are little-endian. */
  u64(offset: number, value: number): void {
    this.u32[offset >> 2] = value
    this.u32[(offset >> 2) + 1] = value / 0x1_0000_0000
  }
}
