/**
 * The records of a pax header (POSIX.1-2017, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, where the length is decimal and
 * counts the whole record. Values stay bytes: a capability in an xattr is no text, and one that is decoded is lost.
 */
import { toByteString } from './byte-string.ts'
import { layerInvalid } from './errors.ts'

const space = 0x20
const equals = 0x3d
const newline = 0x0a

/** Attacker-controlled. A key that stands twice has its last value. @throws layer-invalid */
export function parsePax(bytes: Uint8Array): Map<string, Uint8Array> {
  const records = new Map<string, Uint8Array>()
  for (let at = 0; at < bytes.length; ) {
    const spaceAt = bytes.indexOf(space, at)
    const lengthText = spaceAt < 0 ? '' : toByteString(bytes.subarray(at, spaceAt))
    // Eight digits: more than a header may have at all.
    const length = /^[1-9][0-9]{0,7}$/.test(lengthText) ? Number(lengthText) : 0
    const end = at + length
    const equalsAt = bytes.indexOf(equals, spaceAt)
    if (length === 0 || end > bytes.length || bytes[end - 1] !== newline || equalsAt < 0 || equalsAt >= end)
      throw layerInvalid(`a pax header is broken at its byte ${at}`)
    const key = toByteString(bytes.subarray(spaceAt + 1, equalsAt))
    if (key === '') throw layerInvalid(`a pax header has a record without a key at its byte ${at}`)
    records.set(key, bytes.slice(equalsAt + 1, end - 1))
    at = end
  }
  return records
}

/** One record; the length counts its own digits too. */
export function encodePaxRecord(key: string, value: Uint8Array): Uint8Array {
  const rest = 1 + key.length + 1 + value.length + 1
  let length = rest + String(rest).length
  if (rest + String(length).length > length) length += 1
  const record = new Uint8Array(length)
  const head = `${length} ${key}=`
  for (let at = 0; at < head.length; at += 1) record[at] = head.charCodeAt(at)
  record.set(value, head.length)
  record[length - 1] = newline
  return record
}
