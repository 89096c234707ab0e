/**
 * Names as a file system has them: bytes, in no promised encoding. They are held as strings of one character for each byte,
 * so that they can be keys, compare in the order of their bytes, and come out as they went in. Only a sentence for people
 * decodes them.
 */
import { decodeUtf8 } from '../wire/utf8.ts'

export type ByteString = string

/** Few enough arguments for any engine's call stack. */
const piece = 4096

export function toByteString(bytes: Uint8Array): ByteString {
  let text = ''
  for (let at = 0; at < bytes.length; at += piece)
    text += String.fromCharCode(...bytes.subarray(at, at + piece))
  return text
}

export function toBytes(text: ByteString): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}

/** For a sentence: UTF-8 where it is that, control characters and other bytes escaped, in quotes. */
export function quoteName(name: ByteString): string {
  let text = name
  try {
    text = decodeUtf8(toBytes(name))
  } catch {
    // Not UTF-8: byte for byte.
  }
  const short = text.length > 160 ? `${text.slice(0, 160)}…` : text
  return `'${short.replaceAll(/[\p{Cc}\p{Cf}'\\\x80-\xff]/gu, (c) => (c >= '\xa0' && text !== name ? c : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))}'`
}
