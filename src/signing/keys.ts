/**
 * Signing keys: Ed25519 in PKCS#8 PEM, one file per role, so that taking a key offline means moving a file.
 *
 *     keys/<repository>/root.pem       signs root: which keys count. Losing it means re-flashing every agent
 *     keys/<repository>/targets.pem    signs targets: which releases exist
 *     keys/<repository>/snapshot.pem   signs snapshot: which metadata belongs together
 *     keys/<repository>/timestamp.pem  signs timestamp: how fresh it is
 *     keys/<repository>/plan.pem       signs plans: what one machine boots now; delegated by targets
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto'
import { chmod, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { systemReason } from '../system-error.ts'
import { canonicalJson } from './canonical-json.ts'

export const keyRoles = ['root', 'targets', 'snapshot', 'timestamp', 'plan'] as const
export type KeyRole = (typeof keyRoles)[number]

/** A public key as TUF metadata holds it (specification v1.0.34 §4.2.2): 32 bytes in lower-case hexadecimal. */
export type TufKey = { keytype: 'ed25519'; scheme: 'ed25519'; keyval: { public: string } }

/** Something that signs: a key file here, later also a token or a service. */
export type Signer = {
  /** sha256 of the canonical JSON of `publicKey`, hexadecimal. */
  keyid: string
  publicKey: TufKey
  /** Ed25519 signature (RFC 8032, 64 bytes) over the message itself. */
  sign(message: Uint8Array): Uint8Array
}

/** The keyid of a public key: sha256 over the canonical JSON of the key object, as every TUF implementation counts it. */
export function keyidOf(key: TufKey): string {
  return createHash('sha256').update(canonicalJson(key)).digest('hex')
}

export function createSigner(privateKey: KeyObject): Signer {
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' })
  const publicKey: TufKey = {
    keytype: 'ed25519',
    scheme: 'ed25519',
    keyval: { public: Buffer.from(x as string, 'base64url').toString('hex') },
  }
  return { keyid: keyidOf(publicKey), publicKey, sign: (message) => sign(null, message, privateKey) }
}

export function generatePrivateKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey
}

export function keyFileOf(directory: string, role: KeyRole): string {
  return join(directory, `${role}.pem`)
}

/**
 * Writes a key as a new file with mode 0600, on disk before it returns.
 *
 * @throws MusterError `repository-exists` when the file is there already: a key is never overwritten.
 */
export async function writeKeyFile(path: string, privateKey: KeyObject): Promise<void> {
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path, 'wx', 0o600)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new MusterError(
      'repository-exists',
      `The key ${path} exists; move it away before making a new one.`,
      {
        cause,
        details: { path },
      },
    )
  }
  try {
    await file.writeFile(pem)
    await file.sync()
  } finally {
    await file.close()
  }
  // `open` applies the umask, which may only have taken rights away; 0600 exactly is what `ls -l` should show.
  await chmod(path, 0o600)
}

/**
 * Loads one role's key. Undefined when the file is not there: the key is offline.
 *
 * @throws MusterError `key-invalid` when the file cannot be read, or is not an Ed25519 private key in PEM.
 */
export async function loadKeyFile(path: string, log: Pick<Log, 'warn'>): Promise<Signer | undefined> {
  let pem: string
  let mode: number
  try {
    pem = await readFile(path, 'utf8')
    mode = (await stat(path)).mode
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new MusterError(
      'key-invalid',
      `The key ${path} cannot be read: ${systemReason(cause)}. Name another one, or give it to the user who runs this.`,
      {
        cause,
        details: { path },
      },
    )
  }
  const signer = createSigner(parsePrivateKey(pem, path))
  // Of a file that is no key it would be an odd thing to say.
  if ((mode & 0o077) !== 0) {
    log.warn(
      { path, mode: (mode & 0o777).toString(8) },
      `Others may read the key ${path}; run: chmod 600 ${path}`,
    )
  }
  return signer
}

function parsePrivateKey(pem: string, path: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (cause) {
    const sentence = `The file ${path} is not a private key in PKCS#8 PEM; in a keys folder, restore it from your backup.`
    throw new MusterError('key-invalid', sentence, { cause, details: { path } })
  }
  if (key.asymmetricKeyType !== 'ed25519') {
    const sentence = `The key ${path} must be Ed25519, but is ${key.asymmetricKeyType}; make one with: openssl genpkey -algorithm ed25519`
    throw new MusterError('key-invalid', sentence, { details: { path, found: key.asymmetricKeyType } })
  }
  return key
}

/** The keys that are here; a role without a file is offline and absent. */
export type Keys = Partial<Record<KeyRole, Signer>>

/** @throws MusterError `key-invalid` as `loadKeyFile` does. */
export async function loadKeys(directory: string, log: Log): Promise<Keys> {
  const keys: Keys = {}
  for (const role of keyRoles) {
    const signer = await loadKeyFile(keyFileOf(directory, role), log)
    if (signer !== undefined) keys[role] = signer
  }
  return keys
}

/** @throws MusterError `key-not-found` when the role's key is offline. */
export function requireKey(keys: Keys, role: KeyRole): Signer {
  const signer = keys[role]
  if (signer !== undefined) return signer
  const sentence = `This needs the ${role} key, but ${role}.pem is not in the keys folder; do it where that key is kept.`
  throw new MusterError('key-not-found', sentence, { details: { role } })
}
