/**
 * The globals of Node and browsers that shared code may use and QuickJS lacks. esbuild's `inject` gives a file what it
 * names and leaves globalThis alone; what nobody names is not in the bundle.
 */
import { decodeUtf8, encodeUtf8 } from '../../wire/utf8.ts'

export { Buffer } from './buffer.ts'

export class TextEncoder {
  readonly encoding = 'utf-8'

  encode(text = ''): Uint8Array<ArrayBuffer> {
    // WHATWG Encoding §8: halves of pairs become U+FFFD.
    return encodeUtf8(
      text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd'),
    )
  }
}

/** Always fatal: what is not UTF-8 throws `packet-invalid`, whether `fatal` was asked for or not. */
export class TextDecoder {
  readonly encoding = 'utf-8'

  decode(bytes: Uint8Array | ArrayBuffer = new Uint8Array()): string {
    return decodeUtf8(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes))
  }
}
