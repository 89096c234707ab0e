/**
 * The bytes under a TUF signature: OLPC canonical JSON (TUF specification v1.0.34, §4.2.1).
 *
 * Keys sorted, no white space, integers only, and of all characters only `"` and `\` escaped. Implementations disagree
 * about the order of keys outside the Basic Multilingual Plane and about integers above 2^53, so we write neither.
 *
 * @throws MusterError `metadata-invalid` for what has no one canonical form: fractions, unsafe integers, undefined.
 */
import { MusterError } from '../errors.ts'

export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue }

export function canonicalJson(value: JsonValue): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'number') return integer(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object') {
    const members = Object.keys(value)
      .sort()
      .map((name) => `${quote(name)}:${canonicalJson(value[name] as JsonValue)}`)
    return `{${members.join(',')}}`
  }
  throw new MusterError(
    'metadata-invalid',
    `Metadata may hold JSON values only, but a ${typeof value} was found.`,
  )
}

function integer(value: number): string {
  if (Number.isSafeInteger(value)) return String(value)
  throw new MusterError(
    'metadata-invalid',
    `Signed metadata may hold whole numbers below 2^53 only, but ${value} was found; use a string for anything else.`,
  )
}

function quote(text: string): string {
  if (/[\ud800-\udfff]/.test(text)) {
    throw new MusterError(
      'metadata-invalid',
      `Signed metadata may not hold characters above U+FFFF, because TUF clients sort them differently: "${text}".`,
    )
  }
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
