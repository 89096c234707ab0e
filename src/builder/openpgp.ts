/**
 * Checks the OpenPGP signature of a Debian archive's InRelease, with Node's own RSA and Ed25519: --refresh then needs no gpgv.
 *
 * Only what Debian uses: clear-signed text, version 4 keys and signatures (RFC 9580 5.2.3, 5.5.2, 7), RSA and EdDSA, SHA-256 and SHA-512.
 * Trust is the shipped key file alone: no web of trust, no expiry of keys, no revocation; a key that is no longer good is removed from images/agent/keys.
 */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { MusterError } from '../errors.ts'

type Packet = { tag: number; body: Buffer }
type Key = { fingerprint: string; algorithm: number; key: KeyObject }

const rsa = 1
const eddsaLegacy = 22
const hashes: Record<number, string> = { 8: 'sha256', 10: 'sha512' }
const signatureOfText = 1
const publicKeyTags = [6, 14]

/**
 * The text that one of the keys signed, as it stands (line ends as in the file).
 * @param armoredKeys ASCII-armored public key files
 * @throws build-failed where no signature is a good one of these keys
 */
export function verifyClearSigned(message: string, armoredKeys: readonly string[]): string {
  try {
    const keys = armoredKeys.flatMap((text) => readPackets(dearmor(text, 'PUBLIC KEY BLOCK')).flatMap(toKey))
    const { text, signatures } = splitMessage(message)
    const canonical = Buffer.from(
      text
        .split('\n')
        .map((line) => line.replace(/[ \t\r]+$/, ''))
        .join('\r\n'),
    )
    const good = readPackets(signatures).some(({ tag, body }) => tag === 2 && isGood(body, canonical, keys))
    if (good) return text
  } catch (cause) {
    if (!(cause instanceof RangeError || cause instanceof TypeError)) throw cause
    throw new MusterError('build-failed', `The archive's InRelease is not signed text: ${cause.message}.`, {
      cause,
    })
  }
  throw new MusterError(
    'build-failed',
    "The archive's InRelease has no good signature of the keys in images/agent/keys: the mirror is not Debian's, or the keys have changed since.",
  )
}

/**
 *     version 4, type, key algorithm, hash algorithm, length and hashed subpackets,
 *     length and other subpackets, left 16 bits of the hash, numbers of the algorithm
 */
function isGood(body: Buffer, canonical: Buffer, keys: readonly Key[]): boolean {
  if (body[0] !== 4 || body[1] !== signatureOfText) return false
  const hash = hashes[body[3]!]
  const hashedEnd = 6 + body.readUInt16BE(4)
  const otherEnd = hashedEnd + 2 + body.readUInt16BE(hashedEnd)
  const issuer = issuerOf(body.subarray(6, hashedEnd))
  const key = keys.find(({ fingerprint, algorithm }) => fingerprint === issuer && algorithm === body[2])
  if (hash === undefined || key === undefined) return false
  const trailer = Buffer.from([4, 0xff, 0, 0, 0, 0])
  trailer.writeUInt32BE(hashedEnd, 2)
  const signed = Buffer.concat([canonical, body.subarray(0, hashedEnd), trailer])
  const numbers = readNumbers(body.subarray(otherEnd + 2))
  if (key.algorithm === rsa) {
    const bytes = (key.key.asymmetricKeyDetails?.modulusLength ?? 0) / 8
    return verify(hash, signed, key.key, padStart(numbers[0]!, bytes))
  }
  const digest = createHash(hash).update(signed).digest()
  return verify(null, digest, key.key, Buffer.concat([padStart(numbers[0]!, 32), padStart(numbers[1]!, 32)]))
}

/** Subpacket 33: version 4 and the fingerprint of the key that signed. */
function issuerOf(subpackets: Buffer): string | undefined {
  for (let at = 0; at < subpackets.length; ) {
    const first = subpackets[at]!
    const isShort = first < 192
    if (first === 255) return undefined
    const length = isShort ? first : ((first - 192) << 8) + subpackets.readUInt8(at + 1) + 192
    const start = at + (isShort ? 1 : 2)
    if ((subpackets.readUInt8(start) & 0x7f) === 33)
      return subpackets.toString('hex', start + 2, start + length)
    at = start + length
  }
  return undefined
}

/** Version 4, time (4 bytes), algorithm, numbers. Other packets and algorithms give nothing. */
function toKey({ tag, body }: Packet): Key[] {
  if (!publicKeyTags.includes(tag) || body[0] !== 4) return []
  const algorithm = body.readUInt8(5)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(body.length)
  const fingerprint = createHash('sha1')
    .update(Buffer.concat([Buffer.from([0x99]), length, body]))
    .digest('hex')
  const text = (bytes: Buffer) => bytes.toString('base64url')
  if (algorithm === rsa) {
    const [n, e] = readNumbers(body.subarray(6))
    const key = createPublicKey({ key: { kty: 'RSA', n: text(n!), e: text(e!) }, format: 'jwk' })
    return [{ fingerprint, algorithm, key }]
  }
  if (algorithm === eddsaLegacy) {
    // Length and object identifier of the curve, then the point with 0x40 before it.
    const [point] = readNumbers(body.subarray(7 + body.readUInt8(6)))
    const x = text(padStart(point!.subarray(1), 32))
    return [
      {
        fingerprint,
        algorithm,
        key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }),
      },
    ]
  }
  return []
}

/** Each with its length in bits before it. */
function readNumbers(bytes: Buffer): Buffer[] {
  const numbers: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 + ((bytes.readUInt16BE(at) + 7) >> 3)
    if (end > bytes.length) throw new RangeError('a number ends outside of its packet')
    numbers.push(bytes.subarray(at + 2, end))
    at = end
  }
  return numbers
}

/** RFC 9580 4.2: both header formats; lengths that come in parts are not used for keys and signatures. */
function readPackets(bytes: Buffer): Packet[] {
  const packets: Packet[] = []
  for (let at = 0; at < bytes.length; ) {
    const head = bytes[at]!
    const { length, start } =
      (head & 0x40) !== 0 ? newLength(bytes, at + 1) : oldLength(bytes, at + 1, head & 3)
    if (start + length > bytes.length) throw new RangeError('a packet ends outside of the file')
    packets.push({
      tag: (head & 0x40) !== 0 ? head & 0x3f : (head >> 2) & 0xf,
      body: bytes.subarray(start, start + length),
    })
    at = start + length
  }
  return packets
}

function newLength(bytes: Buffer, at: number): { length: number; start: number } {
  const first = bytes.readUInt8(at)
  if (first < 192) return { length: first, start: at + 1 }
  if (first < 224) return { length: ((first - 192) << 8) + bytes.readUInt8(at + 1) + 192, start: at + 2 }
  if (first < 255) throw new RangeError('a packet comes in parts')
  return { length: bytes.readUInt32BE(at + 1), start: at + 5 }
}

function oldLength(bytes: Buffer, at: number, kind: number): { length: number; start: number } {
  if (kind === 0) return { length: bytes.readUInt8(at), start: at + 1 }
  if (kind === 1) return { length: bytes.readUInt16BE(at), start: at + 2 }
  if (kind === 2) return { length: bytes.readUInt32BE(at), start: at + 4 }
  throw new RangeError('a packet has no length')
}

/** RFC 9580 7: headers, a blank line, the text with "- " before lines that begin with a dash, and the signatures. */
function splitMessage(message: string): { text: string; signatures: Buffer } {
  const match =
    /^-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)\r?\n(-----BEGIN PGP SIGNATURE-----.*)$/s.exec(
      message,
    )
  if (match === null) throw new RangeError('the frame of a clear-signed message is missing')
  return { text: match[1]!.replace(/^- /gm, ''), signatures: dearmor(match[2]!, 'SIGNATURE') }
}

/** RFC 9580 6: base64 between the frame's lines; the checksum ("=xxxx") says nothing that a signature does not. */
function dearmor(text: string, kind: string): Buffer {
  const match = new RegExp(
    `-----BEGIN PGP ${kind}-----\\r?\\n(?:[A-Za-z]+: .*\\r?\\n)*\\r?\\n([A-Za-z0-9+/=\\s]*?)-----END PGP ${kind}-----`,
  ).exec(text)
  if (match === null) throw new RangeError(`there is no PGP ${kind}`)
  return Buffer.from(match[1]!.replace(/^=.{4}$/m, ''), 'base64')
}

function padStart(bytes: Buffer, length: number): Buffer {
  return bytes.length >= length ? bytes : Buffer.concat([Buffer.alloc(length - bytes.length), bytes])
}
