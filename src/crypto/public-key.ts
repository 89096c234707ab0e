/**
 * Public keys as TUF metadata writes them (specification v1.0.34 §4.2.2), as one parsed form.
 *
 *     keytype                                   scheme                        keyval.public
 *     ed25519                                   ed25519                       32 bytes in hex, or SPKI PEM
 *     ecdsa, ecdsa-sha2-nistp256, -nistp384     ecdsa-sha2-nistp256, -384     SPKI PEM, or the point in hex
 *     rsa                                       rsassa-pss-sha256, -384, -512 SPKI PEM
 *
 * SPKI is SubjectPublicKeyInfo (RFC 5280 §4.1.2.7): SEQUENCE { SEQUENCE { algorithm, parameters }, BIT STRING key }.
 * The algorithm inside must be the one that keytype claims: libraries otherwise verify by what the PEM says.
 */
import { MusterError } from '../errors.ts'
import type { HashAlgorithm } from './crypto.ts'
import { encodeElement, malformed, readElements, tag } from './der.ts'
import { fromBase64, fromHex, toBase64, toHex } from './encoding.ts'

export type TufKey = { keytype: string; scheme: string; public: string }

export type PublicKey = {
  algorithm: 'ed25519' | 'ecdsa' | 'rsa-pss'
  /** What is hashed before signing; undefined for Ed25519, which signs the message itself. */
  hash: HashAlgorithm | undefined
  /** SubjectPublicKeyInfo in DER. */
  spki: Uint8Array<ArrayBuffer>
  /** The same string for the same key, however it was written: who holds one holds the other. */
  material: string
}

const oid = { ed25519: '2b6570', ec: '2a8648ce3d0201', rsa: '2a864886f70d010101' } as const
const curves: Record<string, { name: string; oid: string; bytes: number; hash: HashAlgorithm }> = {
  'ecdsa-sha2-nistp256': { name: 'p256', oid: '2a8648ce3d030107', bytes: 32, hash: 'sha256' },
  'ecdsa-sha2-nistp384': { name: 'p384', oid: '2b81040022', bytes: 48, hash: 'sha384' },
}
const rsaHashes: Record<string, HashAlgorithm> = {
  'rsassa-pss-sha256': 'sha256',
  'rsassa-pss-sha384': 'sha384',
  'rsassa-pss-sha512': 'sha512',
}
const rsaModulusBits = { least: 2048, greatest: 8192 }

/**
 * Undefined for a keytype and scheme that we do not know: such a key may be listed, but nothing verifies under it.
 *
 * @throws key-invalid for a key of a known type whose value is malformed, or of another algorithm or curve.
 */
export function parsePublicKey(key: TufKey): PublicKey | undefined {
  const curve = Object.hasOwn(curves, key.scheme) ? curves[key.scheme] : undefined
  if (key.keytype === 'ed25519' && key.scheme === 'ed25519') return parseEd25519(key.public)
  if (curve !== undefined && (key.keytype === 'ecdsa' || key.keytype === key.scheme)) {
    return parseEcdsa(key.public, curve)
  }
  if (key.keytype === 'rsa' && Object.hasOwn(rsaHashes, key.scheme)) {
    return parseRsa(key.public, rsaHashes[key.scheme]!)
  }
  return undefined
}

/** An Ed25519 key from its SubjectPublicKeyInfo in DER, as hello carries it. @throws key-invalid */
export function ed25519FromSpki(spki: Uint8Array): PublicKey {
  const { algorithm, bits } = readSpki(spki)
  if (algorithm !== oid.ed25519 || bits.length !== 32) throw wrong('an Ed25519 key of 32 bytes')
  return { algorithm: 'ed25519', hash: undefined, spki: spki.slice(), material: `ed25519:${toHex(bits)}` }
}

/** `-----BEGIN PUBLIC KEY-----`, RFC 7468 §13. */
export function toPem(spki: Uint8Array): string {
  const lines = toBase64(spki).match(/.{1,64}/g) ?? []
  return `-----BEGIN PUBLIC KEY-----\n${lines.join('\n')}\n-----END PUBLIC KEY-----\n`
}

function parseEd25519(text: string): PublicKey {
  return ed25519FromSpki(isPem(text) ? fromPem(text) : encodeSpki(fromHex(text), oid.ed25519))
}

function parseEcdsa(text: string, curve: (typeof curves)[string]): PublicKey {
  const spki = isPem(text) ? fromPem(text) : encodeSpki(fromHex(text), oid.ec, objectIdentifier(curve.oid))
  const { algorithm, parameters, bits } = readSpki(spki)
  const named = parameters?.tag === tag.objectIdentifier && toHex(parameters.content) === curve.oid
  if (algorithm !== oid.ec || !named) throw wrong(`an EC key on ${curve.name}`)
  const [form] = bits
  const uncompressed = form === 4 && bits.length === 1 + 2 * curve.bytes
  const compressed = (form === 2 || form === 3) && bits.length === 1 + curve.bytes
  if (!uncompressed && !compressed) throw wrong(`a point on ${curve.name}`)
  // The x coordinate alone: compressed or not, and even negated, it is in the same hands.
  const x = toHex(bits.subarray(1, 1 + curve.bytes))
  return { algorithm: 'ecdsa', hash: curve.hash, spki, material: `${curve.name}:${x}` }
}

function parseRsa(text: string, hash: HashAlgorithm): PublicKey {
  if (!isPem(text)) throw wrong('an RSA key in PEM')
  const spki = fromPem(text)
  const { algorithm, parameters, bits } = readSpki(spki)
  if (algorithm !== oid.rsa || parameters?.tag !== tag.null) throw wrong('an RSA key (rsaEncryption)')
  const [inner, ...rest] = readElements(bits)
  if (inner?.tag !== tag.sequence || rest.length > 0) throw malformed('no RSAPublicKey')
  const [modulus, exponent, ...more] = readElements(inner.content)
  if (modulus?.tag !== tag.integer || exponent?.tag !== tag.integer || more.length > 0) {
    throw malformed('no RSAPublicKey')
  }
  const digits = toHex(modulus.content).replace(/^(?:00)+/, '')
  const { least, greatest } = rsaModulusBits
  if (digits.length * 4 < least || digits.length * 4 > greatest) {
    throw wrong(`an RSA modulus of ${least} to ${greatest} bits`)
  }
  return { algorithm: 'rsa-pss', hash, spki, material: `rsa:${digits}` }
}

function readSpki(spki: Uint8Array) {
  const [outer, ...rest] = readElements(spki)
  if (outer?.tag !== tag.sequence || rest.length > 0) throw malformed('no SubjectPublicKeyInfo')
  const [identifier, key, ...more] = readElements(outer.content)
  if (identifier?.tag !== tag.sequence || key?.tag !== tag.bitString || more.length > 0) {
    throw malformed('no SubjectPublicKeyInfo')
  }
  if (key.content[0] !== 0) throw malformed('the key has unused bits')
  const [algorithm, parameters, ...others] = readElements(identifier.content)
  if (algorithm?.tag !== tag.objectIdentifier || others.length > 0) throw malformed('no algorithm')
  return { algorithm: toHex(algorithm.content), parameters, bits: key.content.subarray(1) }
}

function encodeSpki(
  bits: Uint8Array,
  algorithm: string,
  ...parameters: Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const identifier = encodeElement(tag.sequence, objectIdentifier(algorithm), ...parameters)
  return encodeElement(tag.sequence, identifier, encodeElement(tag.bitString, Uint8Array.of(0), bits))
}

function objectIdentifier(hex: string): Uint8Array {
  return encodeElement(tag.objectIdentifier, fromHex(hex))
}

function isPem(text: string): boolean {
  return text.startsWith('-----BEGIN PUBLIC KEY-----')
}

function fromPem(text: string): Uint8Array<ArrayBuffer> {
  const body = /^-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(text)?.[1]
  if (body === undefined) throw wrong('one PEM block and nothing else')
  return fromBase64(body.replace(/\s/g, ''))
}

function wrong(expected: string): MusterError {
  return new MusterError('key-invalid', `The public key's value does not fit its type: expected ${expected}.`)
}
