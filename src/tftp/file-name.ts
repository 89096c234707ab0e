/**
 * What a client may ask for. Names are virtual: they name things that the server offers, never a path on a disk, so
 * this is the whole of the name's journey through the protocol; what it means is decided behind `open`.
 */
import { MusterError } from '../errors.ts'
import { encodeUtf8 } from '../wire/utf8.ts'

/**
 * A requested name in one form: `\` reads as `/` (Windows boot loaders), no `/` in front, no empty or `.` segments.
 * The name is attacker-controlled, so `..`, control characters, and more than `maxBytes` bytes are refused.
 * @throws access-denied
 */
export function normaliseFilename(filename: string, maxBytes: number): string {
  const length = encodeUtf8(filename).byteLength
  if (length > maxBytes)
    throw refuse(`a file name of ${length} bytes`, `names have at most ${maxBytes}`, { found: length })
  if (/[\u0000-\u001f\u007f]/.test(filename))
    throw refuse('a file name with control characters', 'names are plain text', {})
  const segments = filename
    .replaceAll('\\', '/')
    .split('/')
    .filter((segment) => segment !== '' && segment !== '.')
  if (segments.includes('..')) throw refuse('a file name with ".."', 'names have no folder above them', {})
  if (segments.length === 0) throw refuse('an empty file name', 'a request names one file', {})
  return segments.join('/')
}

function refuse(found: string, expected: string, details: Record<string, unknown>): MusterError {
  return new MusterError('access-denied', `TFTP request refused: ${found} was asked for, ${expected}`, {
    details,
  })
}
