import { generateKeyPairSync, verify } from 'node:crypto'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import {
  createSigner,
  generatePrivateKey,
  keyFileOf,
  keyidOf,
  loadKeyFile,
  loadKeys,
  requireKey,
  writeKeyFile,
} from '../../src/signing/keys.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-keys-'))
})
afterEach(() => rm(directory, { recursive: true }))

describe('key files', () => {
  it('are readable by their owner only and load as the same key', async () => {
    const privateKey = generatePrivateKey()
    const path = keyFileOf(directory, 'targets')
    await writeKeyFile(path, privateKey)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await loadKeyFile(path, silentLog))?.keyid).toBe(createSigner(privateKey).keyid)
  })

  it('are never overwritten', async () => {
    const path = keyFileOf(directory, 'root')
    await writeKeyFile(path, generatePrivateKey())
    const before = await readFile(path, 'utf8')
    await expect(writeKeyFile(path, generatePrivateKey())).rejects.toMatchObject({
      code: 'repository-exists',
    })
    expect(await readFile(path, 'utf8')).toBe(before)
  })

  it('say so when others may read them', async () => {
    const path = keyFileOf(directory, 'plan')
    await writeKeyFile(path, generatePrivateKey())
    await chmod(path, 0o644)
    const warnings: string[] = []
    await loadKeyFile(path, { ...silentLog, warn: (_fields, message) => warnings.push(message ?? '') })
    expect(warnings.join()).toContain(`chmod 600 ${path}`)
  })

  it('that hold no Ed25519 key are refused by name', async () => {
    const path = keyFileOf(directory, 'snapshot')
    await writeFile(path, 'not a key')
    await expect(loadKeyFile(path, silentLog)).rejects.toMatchObject({
      code: 'key-invalid',
      details: { path },
    })
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    await writeFile(path, ec.export({ type: 'pkcs8', format: 'pem' }))
    await expect(loadKeyFile(path, silentLog)).rejects.toThrow(/must be Ed25519, but is ec/)
  })

  it('may be missing: that key is offline, and needing it says which', async () => {
    await writeKeyFile(keyFileOf(directory, 'timestamp'), generatePrivateKey())
    const keys = await loadKeys(directory, silentLog)
    expect(Object.keys(keys)).toEqual(['timestamp'])
    expect(() => requireKey(keys, 'root')).toThrow(expect.objectContaining({ code: 'key-not-found' }))
  })
})

describe('a signer', () => {
  it('has the keyid that other TUF implementations compute', () => {
    // sha256 of {"keytype":"ed25519","keyval":{"public":"00…"},"scheme":"ed25519"}, by securesystemslib.
    const publicKey = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: '00'.repeat(32) } } as const
    expect(keyidOf(publicKey)).toBe('7f7373360bc914a5d4a7bd87711615178beb6cf52494fcc49082ec65ba62908c')
  })

  it('makes plain Ed25519 signatures', () => {
    const privateKey = generatePrivateKey()
    const signer = createSigner(privateKey)
    const raw = Buffer.from(signer.publicKey.keyval.public, 'hex').toString('base64url')
    const key = { key: { kty: 'OKP', crv: 'Ed25519', x: raw }, format: 'jwk' } as const
    const message = Buffer.from('message')
    expect(verify(null, message, key, signer.sign(message))).toBe(true)
    expect(verify(null, Buffer.from('massage'), key, signer.sign(message))).toBe(false)
  })
})
