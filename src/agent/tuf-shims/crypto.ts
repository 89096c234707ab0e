/** The part of node:crypto that @tufjs/models uses, on our crypto port. `provideCrypto` first, then verify. */
import type { Crypto, HashAlgorithm } from '../../crypto/crypto.ts'
import { type PublicKey, parsePublicKey, toPem } from '../../crypto/public-key.ts'
import { MusterError } from '../../errors.ts'
import { Buffer } from './buffer.ts'

// tuf-js imports its cryptography instead of taking it as a parameter, so this one module has state.
let provided: Crypto | undefined

/** Gives tuf-js the cryptography of this machine; the agent's first step. */
export function provideCrypto(crypto: Crypto): void {
  provided = crypto
}

function crypto(): Crypto {
  if (provided === undefined)
    throw new MusterError('internal', 'provideCrypto() comes before any verification.')
  return provided
}

const hashes: readonly string[] = ['sha256', 'sha384', 'sha512'] satisfies HashAlgorithm[]

function createHash(algorithm: string) {
  if (!hashes.includes(algorithm)) throw new Error(`hash algorithm ${algorithm} is not supported`)
  const parts: Uint8Array[] = []
  const hash = {
    update(data: string | Uint8Array) {
      parts.push(typeof data === 'string' ? Buffer.from(data) : data)
      return hash
    },
    digest(encoding?: 'hex') {
      const digest = Buffer.from(crypto().hash(algorithm as HashAlgorithm, Buffer.concat(parts)))
      return encoding === 'hex' ? digest.toString('hex') : digest
    },
  }
  return hash
}

type KeyObject = { spki: string; asymmetricKeyType: string; asymmetricKeyDetails?: { namedCurve: string } }

/** Node's names for what a key may be. */
const kinds: { type: string; curve?: string; keytype: string; scheme: string }[] = [
  { type: 'ed25519', keytype: 'ed25519', scheme: 'ed25519' },
  { type: 'ec', curve: 'prime256v1', keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256' },
  { type: 'ec', curve: 'secp384r1', keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp384' },
  { type: 'rsa', keytype: 'rsa', scheme: 'rsassa-pss-sha256' },
]

function createPublicKey(input: string | { key: Uint8Array; format: 'der'; type: 'spki' }): KeyObject {
  const spki = typeof input === 'string' ? input : toPem(input.key)
  for (const { type, curve, keytype, scheme } of kinds) {
    if (tryParse(keytype, scheme, spki) === undefined) continue
    const details = curve === undefined ? {} : { asymmetricKeyDetails: { namedCurve: curve } }
    return { spki, asymmetricKeyType: type, ...details }
  }
  throw new MusterError('key-invalid', 'The public key is of no kind that this agent verifies.')
}

function tryParse(keytype: string, scheme: string, text: string): PublicKey | undefined {
  try {
    return parsePublicKey({ keytype, scheme, public: text })
  } catch {
    return undefined
  }
}

function verify(
  hash: HashAlgorithm | undefined,
  message: Uint8Array,
  { key }: { key: KeyObject },
  signature: Uint8Array,
): boolean {
  const curve = hash === 'sha384' ? '384' : '256'
  const [keytype, scheme] =
    key.asymmetricKeyType === 'ec'
      ? ['ecdsa', `ecdsa-sha2-nistp${curve}`]
      : key.asymmetricKeyType === 'rsa'
        ? ['rsa', `rsassa-pss-${hash}`]
        : ['ed25519', 'ed25519']
  const parsed = tryParse(keytype, scheme, key.spki)
  return parsed !== undefined && crypto().verify(parsed, message, signature)
}

export default { createHash, createPublicKey, verify, constants: { RSA_PKCS1_PSS_PADDING: 6 } }
