/** Hexadecimal and base64 (RFC 4648 §4, §8) in plain ECMAScript: QuickJS has no Buffer, `atob` or `btoa`. */
import { MusterError } from '../errors.ts'

const digits = '0123456789abcdef'
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += digits.charAt(byte >> 4) + digits.charAt(byte & 15)
  return text
}

/** @throws key-invalid for an odd number of digits, or anything that is not one. Upper case is accepted. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) {
    throw new MusterError(
      'key-invalid',
      `Expected pairs of hexadecimal digits, found "${text.slice(0, 32)}".`,
    )
  }
  const bytes = new Uint8Array(text.length / 2)
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = Number.parseInt(text.slice(2 * index, 2 * index + 2), 16)
  }
  return bytes
}

/** Base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
  let text = ''
  for (let index = 0; index < bytes.length; index += 3) {
    const [a, b, c] = [bytes[index]!, bytes[index + 1], bytes[index + 2]]
    text += alphabet.charAt(a >> 2) + alphabet.charAt(((a & 3) << 4) | ((b ?? 0) >> 4))
    text += b === undefined ? '=' : alphabet.charAt(((b & 15) << 2) | ((c ?? 0) >> 6))
    text += c === undefined ? '=' : alphabet.charAt(c & 63)
  }
  return text
}

/** @throws key-invalid for anything but padded base64 whose unused bits are zero: one value, one spelling. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    throw new MusterError('key-invalid', `Expected padded base64, found "${text.slice(0, 32)}".`)
  }
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const bytes = new Uint8Array((text.length / 4) * 3 - padding)
  let [bits, count, at] = [0, 0, 0]
  for (let index = 0; index < text.length - padding; index++) {
    bits = ((bits << 6) | alphabet.indexOf(text.charAt(index))) & 0xffff
    count += 6
    if (count < 8) continue
    count -= 8
    bytes[at++] = (bits >> count) & 0xff
  }
  if ((bits & ((1 << count) - 1)) !== 0) {
    throw new MusterError('key-invalid', 'Expected base64 whose unused last bits are zero.')
  }
  return bytes
}
