/** The crypto port on Node. */
import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import type { Crypto } from './crypto.ts'
import { ed25519FromSpki, type PublicKey } from './public-key.ts'

const maxCachedKeys = 256

export function createNodeCrypto(): Crypto {
  const keys = new Map<string, KeyObject>()

  function keyObject(key: PublicKey): KeyObject {
    const name = `${key.algorithm}:${key.material}`
    const known = keys.get(name)
    if (known !== undefined) return known
    const made = createPublicKey({ key: Buffer.from(key.spki), format: 'der', type: 'spki' })
    if (keys.size >= maxCachedKeys) keys.clear()
    keys.set(name, made)
    return made
  }

  return {
    sha256: (bytes) => createHash('sha256').update(bytes).digest(),
    hash: (algorithm, bytes) => createHash(algorithm).update(bytes).digest(),
    verify(key, message, signature) {
      let object: KeyObject
      try {
        object = keyObject(key)
      } catch {
        return false // well-formed DER, but no point on its curve
      }
      const padding = key.algorithm === 'rsa-pss' ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {}
      return verify(key.hash ?? null, message, { key: object, ...padding }, signature)
    },
    randomBytes: (count) => randomBytes(count),
    createSigningKey() {
      const { publicKey, privateKey } = generateKeyPairSync('ed25519')
      const spki = publicKey.export({ format: 'der', type: 'spki' })
      return { publicKey: ed25519FromSpki(spki), sign: (message) => sign(null, message, privateKey) }
    },
  }
}
