/** Names and labels that people give to machines. They end up in host names, YAML and boot scripts: one rule each, here. */
import { MusterError } from '../errors.ts'
import type { Labels } from './records.ts'

const base32 = 'abcdefghijklmnopqrstuvwxyz234567'

/** `m-` or `b-` and 16 base32 characters: 80 random bits. */
export function createId(kind: 'm' | 'b', random: (bytes: number) => Uint8Array): string {
  let bits = 0n
  for (const byte of random(10)) bits = (bits << 8n) | BigInt(byte)
  let text = ''
  for (let shift = 75n; shift >= 0n; shift -= 5n) text += base32[Number((bits >> shift) & 31n)]
  return `${kind}-${text}`
}

const idShape = /^[mb]-[a-z2-7]{16}$/

/** A DNS-1123 label (RFC 1123 §2.1, 63 characters), lower case. @throws request-invalid */
export function checkName(name: string, ownId: string): string {
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) {
    throw new MusterError(
      'request-invalid',
      `'${name.slice(0, 80)}' cannot be a node name: expected at most 63 of a-z, 0-9 and '-', not '-' at an end`,
    )
  }
  if (idShape.test(name) && name !== ownId) {
    throw new MusterError(
      'request-invalid',
      `'${name}' looks like the id of another machine: choose another name`,
    )
  }
  return name
}

export const labelLimits = { count: 64, keyChars: 63, valueChars: 256 } as const

export const labelNameRule = `at most ${labelLimits.keyChars} letters, digits and . _ / -, the first and the last a letter or digit`
const labelName = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?$/
export const isLabelName = (text: string): boolean =>
  text.length <= labelLimits.keyChars && labelName.test(text)

/** Keys as in Kubernetes (letters, digits, `._/-`); values any text without control characters. @throws request-invalid */
export function checkLabels(labels: Labels): Labels {
  const entries = Object.entries(labels)
  if (entries.length > labelLimits.count) {
    throw new MusterError(
      'request-invalid',
      `a machine has at most ${labelLimits.count} labels, found ${entries.length}`,
    )
  }
  for (const [key, value] of entries) {
    if (!isLabelName(key)) {
      throw new MusterError(
        'request-invalid',
        `'${key.slice(0, 80)}' cannot be a label's name: expected ${labelNameRule}`,
      )
    }
    if (value.length > labelLimits.valueChars || /[\x00-\x1f\x7f]/.test(value) || !value.isWellFormed()) {
      throw new MusterError(
        'request-invalid',
        `the value of label '${key}' is not allowed: at most ${labelLimits.valueChars} characters and no control characters`,
      )
    }
  }
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}
