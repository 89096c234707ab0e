/**
 * The crypto port on the agent: QuickJS has no cryptography, so `openssl` (3.x) is run for each signature.
 *
 * A fork costs 30 to 60 ms under emulation, so what was verified once is remembered, and so is each key's file. What
 * openssl reads are files: `pkeyutl -rawin` wants to know the size of an Ed25519 message before it starts.
 */
import { MusterError } from '../errors.ts'
import type { Crypto, HashAlgorithm } from './crypto.ts'
import { toHex } from './encoding.ts'
import { ed25519FromSpki, type PublicKey, toPem } from './public-key.ts'
import { sha256 } from './sha256.ts'

/** What the agent's host gives. */
export type OpensslHost = {
  /** Runs a program found on PATH, without a shell and without standard input, and collects what it printed. */
  run(argv: readonly string[]): { code: number; stdout: Uint8Array }
  /** Writes a file with mode 0600 into a folder that only this process uses, in memory, and tells its path. */
  writeFile(name: string, bytes: Uint8Array): string
  /** From the kernel's generator. */
  randomBytes(count: number): Uint8Array
}

/** Enough for a root signed by its predecessor's keys too, and for a role that two others delegate to. */
const maxRemembered = 16
/** Above this a fork is cheaper than QuickJS's arithmetic (about 1 MB/s). */
const maxInlineHashBytes = 8192

export function createOpensslCrypto(host: OpensslHost): Crypto {
  const keyFiles = new Map<string, string>()
  const verdicts = new Map<string, { message: Uint8Array; verdict: boolean }>()

  function keyFile(key: PublicKey): string {
    const fingerprint = toHex(sha256(key.spki))
    const known = keyFiles.get(fingerprint)
    if (known !== undefined) return known
    const path = host.writeFile(`${fingerprint}.pem`, ascii(toPem(key.spki)))
    keyFiles.set(fingerprint, path)
    return path
  }

  function verifyOnce(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
    const { code } = host.run([
      'openssl',
      ...['pkeyutl', '-verify', '-pubin', '-inkey', keyFile(key)],
      ...signatureOptions(key),
      ...['-in', host.writeFile('message', message), '-sigfile', host.writeFile('signature', signature)],
    ])
    // openssl-pkeyutl(1): 0 verified, 1 not; a malformed signature is 1 too. 127 and signals are the machinery's.
    if (code === 0 || code === 1) return code === 0
    throw failed(code)
  }

  function output(argv: readonly string[]): Uint8Array {
    const { code, stdout } = host.run(['openssl', ...argv])
    if (code !== 0) throw failed(code)
    return stdout
  }

  function hash(algorithm: HashAlgorithm, bytes: Uint8Array): Uint8Array {
    if (algorithm === 'sha256' && bytes.length <= maxInlineHashBytes) return sha256(bytes)
    return output(['dgst', `-${algorithm}`, '-binary', host.writeFile('message', bytes)])
  }

  return {
    sha256: (bytes) => hash('sha256', bytes),
    hash,
    verify(key, message, signature) {
      const question = `${key.algorithm} ${key.hash} ${key.material} ${toHex(signature)}`
      const known = verdicts.get(question)
      if (known !== undefined && isSame(known.message, message)) return known.verdict
      const verdict = signature.length > 0 && verifyOnce(key, message, signature)
      if (verdicts.size >= maxRemembered) verdicts.clear()
      verdicts.set(question, { message: message.slice(), verdict })
      return verdict
    },
    randomBytes: (count) => host.randomBytes(count),
    createSigningKey() {
      const privatePem = output(['genpkey', '-algorithm', 'ed25519'])
      const path = host.writeFile(`session-${toHex(host.randomBytes(8))}.pem`, privatePem)
      const publicKey = ed25519FromSpki(output(['pkey', '-in', path, '-pubout', '-outform', 'DER']))
      return {
        publicKey,
        sign: (message) =>
          output(['pkeyutl', '-sign', '-rawin', '-inkey', path, '-in', host.writeFile('message', message)]),
      }
    },
  }
}

function signatureOptions(key: PublicKey): string[] {
  const options = ['-rawin']
  if (key.hash !== undefined) options.push('-digest', key.hash satisfies HashAlgorithm)
  if (key.algorithm === 'rsa-pss') {
    options.push('-pkeyopt', 'rsa_padding_mode:pss', '-pkeyopt', 'rsa_pss_saltlen:auto')
  }
  return options
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}

function failed(code: number): MusterError {
  return new MusterError('internal', `openssl ended with ${code}; is it on PATH, with room for its files?`, {
    details: { code },
  })
}
