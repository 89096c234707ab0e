import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromHex } from '../../src/crypto/encoding.ts'
import { ed25519FromSpki, parsePublicKey, toPem } from '../../src/crypto/public-key.ts'
import { MusterError } from '../../src/errors.ts'

const refused = expect.objectContaining({ code: 'key-invalid' })
const pem = (key: KeyObject) => key.export({ format: 'pem', type: 'spki' }).toString()
const der = (key: KeyObject) => key.export({ format: 'der', type: 'spki' })

const ed25519 = generateKeyPairSync('ed25519').publicKey
const ed448 = generateKeyPairSync('ed448').publicKey
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey
const rsaPss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey

const secp256k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey
// rsaEncryption is 1.2.840.113549.1.1.1; the last arc made 10 is id-RSASSA-PSS, its parameters still NULL.
const otherRsa = Buffer.from(
  der(rsa).toString('hex').replace('2a864886f70d010101', '2a864886f70d01010a'),
  'hex',
)

const hexOf = (key: KeyObject, bytes: number) => der(key).subarray(-bytes).toString('hex')

describe('the forms that TUF metadata writes', () => {
  test('an Ed25519 key in hexadecimal and in PEM is one key', () => {
    const fromPem = parsePublicKey({ keytype: 'ed25519', scheme: 'ed25519', public: pem(ed25519) })
    const hex = hexOf(ed25519, 32)
    for (const text of [
      hex,
      hex.toUpperCase(),
      pem(ed25519).trimEnd(),
      pem(ed25519).replaceAll('\n', '\r\n'),
    ]) {
      expect(parsePublicKey({ keytype: 'ed25519', scheme: 'ed25519', public: text })).toEqual(fromPem)
    }
    expect(fromPem?.spki).toEqual(new Uint8Array(der(ed25519)))
  })

  test.each([
    ['ecdsa', 'ecdsa-sha2-nistp256', p256, 65],
    ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256', p256, 65],
    ['ecdsa', 'ecdsa-sha2-nistp384', p384, 97],
    ['ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp384', p384, 97],
  ])(
    'an %s key for %s is the same as PEM, as a point, and as a compressed point',
    (keytype, scheme, key, bytes) => {
      const parsed = parsePublicKey({ keytype, scheme, public: pem(key) })
      const point = hexOf(key, bytes)
      expect(parsePublicKey({ keytype, scheme, public: point })).toEqual(parsed)
      const compressed = (Number.parseInt(point.slice(-1), 16) % 2 ? '03' : '02') + point.slice(2, 1 + bytes)
      const again = parsePublicKey({ keytype, scheme, public: compressed })
      expect(again?.material).toBe(parsed?.material)
      const spki = again?.spki ?? new Uint8Array()
      expect(createPublicKey(toPem(spki)).equals(key)).toBe(true)
    },
  )

  test('an RSA key is the same key under each of its schemes', () => {
    const keys = ['sha256', 'sha384', 'sha512'].map((hash) =>
      parsePublicKey({ keytype: 'rsa', scheme: `rsassa-pss-${hash}`, public: pem(rsa) }),
    )
    expect(keys.map((key) => key?.hash)).toEqual(['sha256', 'sha384', 'sha512'])
    expect(new Set(keys.map((key) => key?.material)).size).toBe(1)
  })

  test.each([
    ['sigstore-oidc', 'Fulcio'],
    ['rsa', 'rsa-pkcs1v15-sha256'],
    ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384'],
    ['ed25519', 'ed25519ph'],
    ['toString', 'constructor'],
  ])('%s with %s is a type that we do not know, not an error', (keytype, scheme) => {
    expect(parsePublicKey({ keytype, scheme, public: 'anything' })).toBeUndefined()
  })
})

describe('a key is refused', () => {
  test.each([
    ['whose PEM holds RSA under keytype ed25519', 'ed25519', 'ed25519', pem(rsa)],
    ['whose PEM holds Ed448 under keytype ed25519', 'ed25519', 'ed25519', pem(ed448)],
    ['whose PEM holds P-384 under scheme nistp256', 'ecdsa', 'ecdsa-sha2-nistp256', pem(p384)],
    ['on another curve whose points are as long', 'ecdsa', 'ecdsa-sha2-nistp256', pem(secp256k1)],
    ['whose PEM holds RSA of another kind (rsassaPss)', 'rsa', 'rsassa-pss-sha256', toPem(otherRsa)],
    ['whose PEM holds Ed25519 under keytype ecdsa', 'ecdsa', 'ecdsa-sha2-nistp256', pem(ed25519)],
    ['whose PEM holds EC under keytype rsa', 'rsa', 'rsassa-pss-sha256', pem(p256)],
    ['that is restricted to one RSA-PSS form of its own', 'rsa', 'rsassa-pss-sha256', pem(rsaPss)],
    ['in hexadecimal under keytype rsa', 'rsa', 'rsassa-pss-sha256', hexOf(rsa, 64)],
    ['of 31 bytes', 'ed25519', 'ed25519', '00'.repeat(31)],
    ['with a second PEM block behind it', 'ed25519', 'ed25519', pem(ed25519) + pem(ed25519)],
    ['with bytes behind its DER', 'ed25519', 'ed25519', toPem(Buffer.concat([der(ed25519), Buffer.of(0)]))],
    ['that is a certificate', 'ed25519', 'ed25519', pem(ed25519).replaceAll('PUBLIC KEY', 'CERTIFICATE')],
    ['that is empty', 'ecdsa', 'ecdsa-sha2-nistp256', ''],
  ])('%s', (_, keytype, scheme, text) => {
    expect(() => parsePublicKey({ keytype, scheme, public: text })).toThrow(refused)
  })

  test('with an RSA modulus of 1024 bits', () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
    expect(() => parsePublicKey({ keytype: 'rsa', scheme: 'rsassa-pss-sha256', public: pem(small) })).toThrow(
      refused,
    )
  })

  test('written with a longer length than it needs, which would be a second spelling', () => {
    const short = der(ed25519)
    const long = Buffer.concat([Buffer.of(0x30, 0x81, short[1]!), short.subarray(2)])
    expect(() => ed25519FromSpki(long)).toThrow(refused)
    expect(ed25519FromSpki(short).material).toBe(`ed25519:${hexOf(ed25519, 32)}`)
  })
})

test('whatever bytes a key is made of, it is a key or our error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(200), fc.nat(255), (noise, at, value) => {
      const bent = new Uint8Array(der(p256))
      bent[at % bent.length] = value
      for (const [scheme, bytes] of [
        ['ed25519', noise],
        ['ecdsa-sha2-nistp256', noise],
        ['ecdsa-sha2-nistp256', bent],
      ] as const) {
        try {
          parsePublicKey({ keytype: scheme, scheme, public: toPem(bytes) })
        } catch (error) {
          expect(error).toBeInstanceOf(MusterError)
        }
      }
    }),
  )
})

test('the key of RFC 8410 §10.1 is read', () => {
  const key = ed25519FromSpki(
    fromHex('302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1'),
  )
  expect(key.algorithm).toBe('ed25519')
})
