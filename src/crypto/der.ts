/**
 * Just enough DER (ITU-T X.690 §10) to look into a public key. Strict, because two spellings of one key must not count
 * as two keys: definite lengths in their shortest form, nothing behind the last element.
 */
import { MusterError } from '../errors.ts'

export const tag = {
  integer: 0x02,
  bitString: 0x03,
  null: 0x05,
  objectIdentifier: 0x06,
  sequence: 0x30,
} as const

export type Element = { tag: number; content: Uint8Array }

/** The elements that fill `bytes` exactly. @throws key-invalid */
export function readElements(bytes: Uint8Array): Element[] {
  const elements: Element[] = []
  let at = 0
  while (at < bytes.length) {
    const elementTag = bytes[at]!
    const { length, next } = readLength(bytes, at + 1)
    if (next + length > bytes.length) throw malformed('an element is longer than what holds it')
    elements.push({ tag: elementTag, content: bytes.subarray(next, next + length) })
    at = next + length
  }
  return elements
}

function readLength(bytes: Uint8Array, at: number): { length: number; next: number } {
  const first = bytes[at]
  if (first === undefined) throw malformed('a length is missing')
  if (first < 0x80) return { length: first, next: at + 1 }
  const octets = first & 0x7f
  if (octets < 1 || octets > 2) throw malformed('a length is indefinite or above 65,535')
  let length = 0
  for (let index = 1; index <= octets; index++) length = length * 256 + (bytes[at + index] ?? 0)
  if (length < (octets === 1 ? 0x80 : 0x100)) throw malformed('a length is not in its shortest form')
  return { length, next: at + 1 + octets }
}

export function encodeElement(elementTag: number, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const header =
    length < 0x80
      ? [elementTag, length]
      : length < 0x100
        ? [elementTag, 0x81, length]
        : [elementTag, 0x82, length >> 8, length & 0xff]
  const bytes = new Uint8Array(header.length + length)
  bytes.set(header)
  let at = header.length
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export function malformed(why: string): MusterError {
  return new MusterError('key-invalid', `The public key is not well-formed DER: ${why}.`)
}
