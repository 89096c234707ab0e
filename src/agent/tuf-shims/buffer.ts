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
    const bytes = typeof value !== 'string' ? value : encoding === 'hex' ? fromHex(value) : encode(value)
    const copy = new Bytes(new ArrayBuffer(bytes.length))
    copy.set(bytes)
    return copy
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

/** Metadata of hundreds of kilobytes is ASCII: no list of numbers for it. */
function encode(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[\u0000-\u007f]*$/.test(text)) return encodeUtf8(text)
  const bytes = new Uint8Array(text.length)
  for (let index = 0; index < bytes.length; index++) bytes[index] = text.charCodeAt(index)
  return bytes
}
