/**
 * Signs PE images for UEFI Secure Boot (Microsoft, "Windows Authenticode Portable Executable Signature Format"; UEFI 2.10 §32.2.4).
 *
 *     ContentInfo { signedData, SignedData {
 *       version 1, digestAlgorithms { sha256 },
 *       contentInfo { SPC_INDIRECT_DATA, { { SPC_PE_IMAGE_DATA, { flags, file } }, DigestInfo { sha256, digest of the image } } },
 *       certificates { the signer's },
 *       signerInfos { { version 1, issuer and serial, sha256, { contentType, messageDigest }, rsaEncryption, signature } } } }
 *
 * No signing time and no chain: the same key over the same bytes gives the same bytes, and firmware looks for this one certificate
 * in its `db` anyway. EDK2 finds the digest algorithm at byte 32 of the whole (DxeImageVerificationLib), so the three outer lengths
 * must take two bytes each: they do, since a certificate alone is longer than 255 bytes.
 */
import { createHash, createPrivateKey, type KeyObject, sign, verify, X509Certificate } from 'node:crypto'
import { type Element, encodeElement, readElements, tag } from '../crypto/der.ts'
import { MusterError } from '../errors.ts'
import { readPe } from './pe.ts'

const set = 0x31
const octetString = 0x04
/** Context-specific, constructed: [0] and [2]; and [0] primitive. */
const context0 = 0xa0
const context2 = 0xa2
const primitive0 = 0x80

const identifier = (hex: string) => encodeElement(tag.objectIdentifier, Buffer.from(hex, 'hex'))
const identifiers = {
  signedData: identifier('2a864886f70d010702'),
  indirectData: identifier('2b060104018237020104'),
  peImageData: identifier('2b06010401823702010f'),
  contentType: identifier('2a864886f70d010903'),
  messageDigest: identifier('2a864886f70d010904'),
  sha256: identifier('608648016503040201'),
  rsa: identifier('2a864886f70d010101'),
}
const nothing = encodeElement(tag.null)
const sequence = (...parts: Uint8Array[]) => encodeElement(tag.sequence, ...parts)
const one = encodeElement(tag.integer, new Uint8Array([1]))
const sha256Algorithm = sequence(identifiers.sha256, nothing)

export type ImageSigner = { key: KeyObject; certificate: X509Certificate }

/**
 * @param files PEM; names for sentences
 * @throws key-invalid for anything but an RSA key of 2048 bits or more and its certificate
 */
export function imageSigner(files: {
  key: string
  certificate: string
  keyName: string
  certificateName: string
}): ImageSigner {
  const key = parsed(files.keyName, () => createPrivateKey(files.key))
  const certificate = parsed(files.certificateName, () => new X509Certificate(files.certificate))
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
  if (key.asymmetricKeyType !== 'rsa' || bits < 2048)
    throw invalid(
      `${files.keyName} is not an RSA key of 2048 bits or more, and firmware knows no other for Secure Boot`,
    )
  if (!certificate.checkPrivateKey(key))
    throw invalid(`${files.certificateName} is not the certificate of ${files.keyName}`)
  return { key, certificate }
}

/**
 * The image with one signature at its end, in place of those that it has: Linux looks at one alone (crypto/asymmetric_keys,
 * verify_pefile.c).
 * @throws build-failed as readPe
 */
export function signImage(image: Buffer, { key, certificate }: ImageSigner, name: string): Buffer {
  const bare = withoutSignatures(image, name)
  // The certificate table stands at a multiple of eight, and what fills the file up to there is hashed too.
  const padded = Buffer.concat([bare, Buffer.alloc(padding(bare.length))])
  const signature = encodeSignature(imageDigest(padded), key, certificate)
  const bytes = 8 + signature.length + padding(signature.length)
  const table = Buffer.alloc(bytes)
  table.writeUInt32LE(bytes, 0)
  table.writeUInt16LE(0x0200, 4)
  table.writeUInt16LE(0x0002, 6)
  table.set(signature, 8)
  const directory = certificateDirectory(padded)
  padded.writeUInt32LE(padded.length, directory)
  padded.writeUInt32LE(table.length, directory + 4)
  return Buffer.concat([padded, table])
}

function withoutSignatures(image: Buffer, name: string): Buffer {
  if (readPe(image, name).signatures.length === 0) return image
  const directory = certificateDirectory(image)
  const start = image.readUInt32LE(directory)
  if (start + image.readUInt32LE(directory + 4) !== image.length)
    throw new MusterError('build-failed', `${name} has something behind its signatures, which would be lost.`)
  const bare = Buffer.from(image.subarray(0, start))
  bare.fill(0, directory, directory + 8)
  return bare
}

/**
 * Whether the image has one signature, which this certificate's key made over these very bytes. The certificate's own dates and chain do not matter:
 * firmware and kernel look at neither.
 * @param image attacker-controlled
 * @throws build-failed where it is no PE image
 */
export function isSignedBy(image: Buffer, certificate: X509Certificate, name: string): boolean {
  const [signature, ...more] = readPe(image, name).signatures
  if (signature === undefined || more.length > 0) return false
  try {
    return verifySignature(signature, imageDigest(image), certificate)
  } catch {
    // Not of the shape that we write and sbsign too: what the machine would make of it is not known.
    return false
  }
}

function verifySignature(signature: Buffer, digest: Buffer, certificate: X509Certificate): boolean {
  const inside = (element: Element | undefined) => readElements(element?.content ?? new Uint8Array())
  // What fills the table up to a multiple of eight stands behind it, and readElements is strict.
  const [contentInfo] = readElements(signature.subarray(0, 4 + signature.readUInt16BE(2)))
  const [, wrapped] = inside(contentInfo)
  const [signedData] = inside(wrapped)
  const [, , content, , signerInfos] = inside(signedData)
  const [type, explicit] = inside(content)
  const [indirect] = inside(explicit)
  const [, digestInfo] = inside(indirect)
  const [algorithm, imageHash] = inside(digestInfo)
  const [signer, ...others] = inside(signerInfos)
  const [, issuerSerial, , attributes, , value] = inside(signer)
  const isSha256 = same(inside(algorithm)[0], identifiers.sha256)
  if (others.length > 0 || !isSha256 || !same(type, identifiers.indirectData)) return false
  if (!digest.equals(imageHash?.content ?? new Uint8Array())) return false
  const [expectedIssuerSerial] = readElements(issuerAndSerial(certificate))
  if (
    !expectedIssuerSerial ||
    !Buffer.from(expectedIssuerSerial.content).equals(issuerSerial?.content ?? new Uint8Array())
  )
    return false
  const contentDigest = createHash('sha256').update(indirect!.content).digest()
  const stated = inside(attributes).find((attribute) => same(inside(attribute)[0], identifiers.messageDigest))
  const [octets] = inside(inside(stated)[1])
  if (!contentDigest.equals(octets?.content ?? new Uint8Array())) return false
  return verify('sha256', encodeElement(set, attributes!.content), certificate.publicKey, value!.content)
}

const same = (element: Element | undefined, encoded: Uint8Array) =>
  element !== undefined && Buffer.from(encodeElement(element.tag, element.content)).equals(encoded)

/**
 * SHA-256 of an image as Authenticode has it: all but the checksum, the entry of the certificate table, and that table. It hashes
 * sections in the order of the file, which is all of the file as long as they lie next to each other; ours do.
 */
export function imageDigest(image: Buffer): Buffer {
  const checksum = image.readUInt32LE(60) + 24 + 64
  const directory = certificateDirectory(image)
  const tableStart = image.readUInt32LE(directory)
  return createHash('sha256')
    .update(image.subarray(0, checksum))
    .update(image.subarray(checksum + 4, directory))
    .update(image.subarray(directory + 8, tableStart === 0 ? image.length : tableStart))
    .digest()
}

const certificateDirectory = (image: Buffer) => image.readUInt32LE(60) + 24 + 112 + 4 * 8
const padding = (length: number) => (8 - (length % 8)) % 8

function encodeSignature(digest: Buffer, key: KeyObject, certificate: X509Certificate): Uint8Array {
  const emptyFile = encodeElement(context0, encodeElement(context2, encodeElement(primitive0)))
  const flags = encodeElement(tag.bitString, new Uint8Array([0]))
  const indirect = [
    sequence(identifiers.peImageData, sequence(flags, emptyFile)),
    sequence(sha256Algorithm, encodeElement(octetString, digest)),
  ]
  // The digest is over the content without its tag and length (PKCS#7, RFC 2315 §9.3).
  const contentDigest = createHash('sha256').update(Buffer.concat(indirect)).digest()
  const attributes = [
    sequence(identifiers.contentType, encodeElement(set, identifiers.indirectData)),
    sequence(identifiers.messageDigest, encodeElement(set, encodeElement(octetString, contentDigest))),
  ]
  // Signed with the tag of a SET, written with that of the field (RFC 2315 §9.3).
  const signature = sign('sha256', encodeElement(set, ...attributes), key)
  const signerInfo = sequence(
    one,
    issuerAndSerial(certificate),
    sha256Algorithm,
    encodeElement(context0, ...attributes),
    sequence(identifiers.rsa, nothing),
    encodeElement(octetString, signature),
  )
  const signedData = sequence(
    one,
    encodeElement(set, sha256Algorithm),
    sequence(identifiers.indirectData, encodeElement(context0, sequence(...indirect))),
    encodeElement(context0, certificate.raw),
    encodeElement(set, signerInfo),
  )
  return sequence(identifiers.signedData, encodeElement(context0, signedData))
}

/** TBSCertificate (RFC 5280 §4.1): `[0]` version, serial number, signature algorithm, issuer, … */
function issuerAndSerial(certificate: X509Certificate): Uint8Array {
  const [outer] = readElements(certificate.raw)
  const [body] = readElements(outer!.content)
  const [first, ...rest] = readElements(body!.content)
  const [serial, , issuer] = first!.tag === context0 ? rest : [first!, ...rest]
  return sequence(encodeElement(issuer!.tag, issuer!.content), encodeElement(serial!.tag, serial!.content))
}

function parsed<T>(name: string, parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    throw new MusterError('key-invalid', `${name} cannot be read as PEM: ${(cause as Error).message}.`, {
      cause,
    })
  }
}

function invalid(sentence: string): MusterError {
  return new MusterError('key-invalid', `${sentence}.`)
}
