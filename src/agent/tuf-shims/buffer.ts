/** The part of Node's Buffer that @tufjs/models uses, on Uint8Array. */
import { fromHex, toHex } from '../../crypto/encoding.ts'
import { decodeUtf8, encodeUtf8 } from '../../wire/utf8.ts'

export class Bytes extends Uint8Array<ArrayBuffer> {
  readUInt32BE(offset = 0): number {
    return new DataView(this.buffer, this.byteOffset, this.byteLength).getUint32(offset)
  }

  override toString(encoding: 'utf8' | 'hex' = 'utf8'): string {
    return encoding === 'hex' ? toHex(this) : decodeUtf8(this)
  }
}

/** With esbuild's `inject`, the free identifier `Buffer` in any bundled file is this. */
export const Buffer = {
  from(value: string | ArrayLike<number>, encoding: 'utf8' | 'hex' = 'utf8'): Bytes {
    const bytes = typeof value !== 'string' ? value : encoding === 'hex' ? fromHex(value) : encodeUtf8(value)
    return Bytes.from(bytes) as Bytes
  },

  concat(parts: readonly Uint8Array[]): Bytes {
    const bytes = new Bytes(new ArrayBuffer(parts.reduce((sum, part) => sum + part.length, 0)))
    let at = 0
    for (const part of parts) {
      bytes.set(part, at)
      at += part.length
    }
    return bytes
  },
}
