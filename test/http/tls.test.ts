import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadTlsIdentity } from '../../src/http/tls.ts'

let keys: string
beforeEach(async () => {
  keys = await mkdtemp(join(tmpdir(), 'muster-tls-'))
})
afterEach(() => rm(keys, { recursive: true, force: true }))

describe("the agent plane's identity", () => {
  test('is made once, readable by its owner only, and is the same at every later start', async () => {
    const first = await loadTlsIdentity(keys)
    expect(first.pin).toMatch(/^sha256\/\/[A-Za-z0-9+/]{43}=$/)
    expect((await stat(join(keys, 'agent-plane.key.pem'))).mode & 0o777).toBe(0o600)
    expect((await readdir(keys)).sort()).toEqual(['agent-plane.cert.pem', 'agent-plane.key.pem'])
    expect(await loadTlsIdentity(keys)).toEqual(first)
  })

  test('is made anew where the first start was killed before there was a key', async () => {
    await writeFile(join(keys, 'agent-plane.cert.pem'), 'of a key that nobody has')
    const made = await loadTlsIdentity(keys)
    expect(made.certificate).toContain('BEGIN CERTIFICATE')
    expect(await loadTlsIdentity(keys)).toEqual(made)
  })

  test('that is damaged is never replaced: agents in the field know no other', async () => {
    await loadTlsIdentity(keys)
    await writeFile(join(keys, 'agent-plane.key.pem'), '')
    await expect(loadTlsIdentity(keys)).rejects.toMatchObject({ code: 'key-invalid' })
  })
})
