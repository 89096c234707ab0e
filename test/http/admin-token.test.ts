import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { loadAdminToken } from '../../src/http/admin-token.ts'

let keysDirectory: string
beforeEach(async () => {
  keysDirectory = join(await mkdtemp(join(tmpdir(), 'muster-token-')), 'keys')
})
afterEach(() => rm(join(keysDirectory, '..'), { recursive: true }))

describe('the admin token', () => {
  test('is shown at the first start and never again', async () => {
    const first = await loadAdminToken({ keysDirectory })
    expect(first.issued).toMatch(/^muster_[\w-]{43}$/)
    const second = await loadAdminToken({ keysDirectory })
    expect(second.issued).toBeUndefined()
    expect(second.verify(first.issued!)).toBe(true)
  })

  test('is kept as a hash that only its owner may read', async () => {
    const { issued } = await loadAdminToken({ keysDirectory })
    const file = join(keysDirectory, 'admin-token')
    expect(await readFile(file, 'utf8')).toMatch(/^sha256:[0-9a-f]{64}\n$/)
    expect(await readFile(file, 'utf8')).not.toContain(issued!.slice(7))
    expect((await stat(file)).mode & 0o777).toBe(0o600)
  })

  test('is refused when one character differs, when it is empty, and when it is the hash', async () => {
    const { issued, verify } = await loadAdminToken({ keysDirectory })
    const stored = (await readFile(join(keysDirectory, 'admin-token'), 'utf8')).trim()
    const wrong = issued!.slice(0, -1) + (issued!.endsWith('A') ? 'B' : 'A')
    expect([wrong, '', stored, stored.slice(7), `${issued} `].map(verify)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ])
  })

  test('dies when it is replaced, at once and after a restart', async () => {
    const token = await loadAdminToken({ keysDirectory })
    const next = await token.replace()
    expect(token.verify(token.issued!)).toBe(false)
    expect(token.verify(next)).toBe(true)
    expect((await loadAdminToken({ keysDirectory })).verify(next)).toBe(true)
  })

  test('is not made anew over a file that is damaged', async () => {
    await loadAdminToken({ keysDirectory })
    await writeFile(join(keysDirectory, 'admin-token'), 'sha256:00')
    await expect(loadAdminToken({ keysDirectory })).rejects.toMatchObject({ code: 'key-invalid' })
  })
})
