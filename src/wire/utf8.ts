/**
 * UTF-8 (RFC 3629) in plain ECMAScript: QuickJS has neither TextEncoder nor TextDecoder.
 *
 * Strict both ways: overlong forms, surrogates and bytes that start nothing are errors, so that two different byte
 * strings never become the same name.
 */
import { MusterError } from '../errors.ts'

/** @throws packet-invalid for a string with half of a surrogate pair. */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  const out: number[] = []
  for (const character of text) {
    const point = character.codePointAt(0) as number
    if (point >= 0xd800 && point <= 0xdfff)
      throw new MusterError(
        'packet-invalid',
        `text cannot be encoded: U+${point.toString(16)} is half a pair`,
      )
    if (point < 0x80) out.push(point)
    else if (point < 0x800) out.push(0xc0 | (point >> 6), continuation(point))
    else if (point < 0x10000) out.push(0xe0 | (point >> 12), continuation(point >> 6), continuation(point))
    else
      out.push(0xf0 | (point >> 18), continuation(point >> 12), continuation(point >> 6), continuation(point))
  }
  return Uint8Array.from(out)
}

/** @throws packet-invalid for anything that is not well-formed UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string {
  let text = ''
  let index = 0
  while (index < bytes.length) {
    const lead = bytes[index] as number
    const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0
    if (length === 0 || index + length > bytes.length) throw malformed(index)
    let point = length === 1 ? lead : lead & (0xff >> (length + 1))
    for (let step = 1; step < length; step += 1) {
      const next = bytes[index + step] as number
      if ((next & 0xc0) !== 0x80) throw malformed(index)
      point = (point << 6) | (next & 0x3f)
    }
    const least = length === 3 ? 0x800 : length === 4 ? 0x10000 : 0
    if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) throw malformed(index)
    text += String.fromCodePoint(point)
    index += length
  }
  return text
}

function continuation(bits: number): number {
  return 0x80 | (bits & 0x3f)
}

function malformed(index: number): MusterError {
  return new MusterError('packet-invalid', `text is malformed: byte ${index} does not continue UTF-8`, {
    details: { offset: index },
  })
}
