/** Both implementations of the port, by the same tests; openssl.ts with the real openssl. */
import { spawnSync } from 'node:child_process'
import { constants, createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Crypto } from '../../src/crypto/crypto.ts'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { createOpensslCrypto, type OpensslHost } from '../../src/crypto/openssl.ts'
import { type PublicKey, parsePublicKey } from '../../src/crypto/public-key.ts'
import { tool } from '../support/tools.ts'

const folder = mkdtempSync(join(tmpdir(), 'muster-crypto-'))
afterAll(() => rmSync(folder, { recursive: true }))

const runs: string[][] = []
const host: OpensslHost = {
  run(argv) {
    runs.push([...argv])
    const { status, stdout } = spawnSync(argv[0]!, argv.slice(1))
    return { code: status ?? 127, stdout: stdout ?? Buffer.alloc(0) }
  },
  writeFile(name, bytes) {
    const path = join(folder, name)
    writeFileSync(path, bytes, { mode: 0o600 })
    return path
  },
  randomBytes: (count) => randomBytes(count),
}

type Case = { name: string; key: PublicKey; sign: (message: Uint8Array) => Uint8Array }
const message = Buffer.from('a message\nof two lines')

function keyCase(
  [keytype, scheme]: [string, string],
  { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject },
  hash: string | null,
): Case {
  const text = publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const key = parsePublicKey({ keytype, scheme, public: text })
  if (key === undefined) throw new Error(`${keytype} ${scheme}`)
  const padding = keytype === 'rsa' ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {}
  return { name: scheme, key, sign: (data) => sign(hash, data, { key: privateKey, ...padding }) }
}

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const cases = [
  keyCase(['ed25519', 'ed25519'], generateKeyPairSync('ed25519'), null),
  keyCase(['ecdsa', 'ecdsa-sha2-nistp256'], generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'sha256'),
  keyCase(['ecdsa', 'ecdsa-sha2-nistp384'], generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha384'),
  keyCase(['rsa', 'rsassa-pss-sha256'], rsa, 'sha256'),
  keyCase(['rsa', 'rsassa-pss-sha384'], rsa, 'sha384'),
  keyCase(['rsa', 'rsassa-pss-sha512'], rsa, 'sha512'),
]

const implementations: [string, Crypto][] = [['node:crypto', createNodeCrypto()]]
if (tool('openssl') !== undefined) implementations.push(['openssl', createOpensslCrypto(host)])

describe.each(implementations)('on %s', (_, crypto) => {
  test.each(cases)('a $name signature verifies over its message only', ({ key, sign }) => {
    const signature = sign(message)
    expect(crypto.verify(key, message, signature)).toBe(true)
    expect(crypto.verify(key, Buffer.from('another message'), signature)).toBe(false)
    expect(crypto.verify(key, message, sign(Buffer.from('another message')))).toBe(false)
    expect(crypto.verify(cases.find((other) => other.key !== key)!.key, message, signature)).toBe(false)
  })

  test.each(cases)('a broken $name signature is false, not an exception', ({ key, sign }) => {
    const signature = sign(message)
    for (const broken of [
      new Uint8Array(),
      signature.subarray(1),
      new Uint8Array(64),
      Buffer.alloc(4096, 1),
    ]) {
      expect(crypto.verify(key, message, broken)).toBe(false)
    }
  })

  test('a key that is no point on its curve verifies nothing', () => {
    const key = parsePublicKey({
      keytype: 'ecdsa',
      scheme: 'ecdsa-sha2-nistp256',
      public: `04${'11'.repeat(64)}`,
    })!
    expect(crypto.verify(key, message, cases[1]!.sign(message))).toBe(false)
  })

  test('hashes are those of Node, for small and large inputs', () => {
    for (const bytes of [Buffer.from('abc'), Buffer.alloc(20_000, 7)]) {
      for (const algorithm of ['sha256', 'sha384', 'sha512'] as const) {
        const expected = createHash(algorithm).update(bytes).digest('hex')
        expect(Buffer.from(crypto.hash(algorithm, bytes)).toString('hex')).toBe(expected)
      }
      expect(crypto.sha256(bytes)).toEqual(crypto.hash('sha256', bytes))
    }
  })

  test('a session key signs what others verify', () => {
    const key = crypto.createSigningKey()
    const signature = key.sign(message)
    expect(signature).toHaveLength(64)
    for (const [, other] of implementations)
      expect(other.verify(key.publicKey, message, signature)).toBe(true)
    expect(crypto.createSigningKey().publicKey.material).not.toBe(key.publicKey.material)
  })

  test('random bytes are as many as asked for', () => {
    expect(crypto.randomBytes(32)).toHaveLength(32)
    expect(crypto.randomBytes(32)).not.toEqual(crypto.randomBytes(32))
  })
})

describe.skipIf(tool('openssl') === undefined)('openssl', () => {
  test('is run once for the same signature over the same message', () => {
    const crypto = createOpensslCrypto(host)
    const [{ key, sign }] = cases as [Case]
    const signature = sign(message)
    const before = runs.length
    for (let round = 0; round < 3; round++)
      expect(crypto.verify(key, Buffer.from(message), signature)).toBe(true)
    expect(runs.length - before).toBe(1)
    expect(crypto.verify(key, Buffer.from('changed'), signature)).toBe(false)
    expect(runs.length - before).toBe(2)
  })

  test('two session keys keep apart on one disk', () => {
    const crypto = createOpensslCrypto(host)
    const [first, second] = [crypto.createSigningKey(), crypto.createSigningKey()]
    expect(crypto.verify(first.publicKey, message, first.sign(message))).toBe(true)
    expect(crypto.verify(second.publicKey, message, second.sign(message))).toBe(true)
  })

  test('that is missing is said, and is not "the signature is wrong"', () => {
    const crypto = createOpensslCrypto({ ...host, run: () => ({ code: 127, stdout: new Uint8Array() }) })
    const [{ key, sign }] = cases as [Case]
    expect(() => crypto.verify(key, message, sign(message))).toThrow(
      expect.objectContaining({ code: 'internal' }),
    )
  })
})
