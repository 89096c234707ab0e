import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { metadataOf, openSite, publish, removeSite, type Site } from './world.ts'

const dayMs = 86_400_000
const hourMs = 3_600_000
const start = Date.parse('2026-03-01T00:00:00Z')

let site: Site
beforeEach(async () => {
  site = await openSite({ clock: { nowMs: start } })
  await publish(site, '1.0')
})
afterEach(() => removeSite(site))

const later = (ms: number) => {
  site.clock.nowMs = start + ms
  return site.releases.resignDue()
}
const takeOffline = async (...roles: string[]) => {
  for (const role of roles) {
    await rename(join(site.data, `keys/main/${role}.pem`), join(site.data, `${role}-offline.pem`))
  }
  const { data, clock } = site
  await site[Symbol.asyncDispose]()
  site = await openSite({ data, clock })
}

describe('metadata whose keys are here', () => {
  it('is left alone until half of its life has passed, and says when that is', async () => {
    const { resigned, nextDueMs } = await later(11 * hourMs)
    expect(resigned).toEqual([])
    expect(nextDueMs).toBe(start + 12 * hourMs)
  })

  it('is signed again at half-life, role by role, and root keeps every version', async () => {
    expect((await later(12 * hourMs)).resigned).toEqual(['timestamp'])
    expect((await later(3.5 * dayMs)).resigned).toEqual(['snapshot', 'timestamp'])
    expect((await later(90 * dayMs)).resigned).toEqual(['targets', 'snapshot', 'timestamp'])
    expect((await later(183 * dayMs)).resigned).toEqual(['root', 'targets', 'snapshot', 'timestamp'])
    const { versions, expires } = site.releases.catalog().trusted
    expect(versions).toEqual({ root: 2, targets: 4, snapshot: 5, timestamp: 6 })
    expect(expires.root).toBe('2027-08-31T00:00:00Z')
    expect(
      JSON.parse(await readFile(join(metadataOf(site.data), '1.root.json'), 'utf8')).signed.version,
    ).toBe(1)
    expect(site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' }).release.version).toBe('1.0')
  })

  it('is signed again after the server was down for longer than its life', async () => {
    const { data, clock } = site
    await site[Symbol.asyncDispose]()
    clock.nowMs = start + 400 * dayMs
    site = await openSite({ data, clock })
    expect(site.releases.expired()).toMatchObject({ code: 'metadata-expired' })
    expect((await site.releases.resignDue()).resigned).toEqual(['root', 'targets', 'snapshot', 'timestamp'])
    expect(site.releases.expired()).toBeUndefined()
  })
})

describe('metadata whose key is offline', () => {
  it('is said to have expired while the server runs, not only at its next start', async () => {
    await takeOffline('root', 'targets')
    await later(179 * dayMs)
    expect(site.releases.expired()).toBeUndefined()
    await later(181 * dayMs)
    expect(site.releases.expired()).toMatchObject({
      code: 'metadata-expired',
      message: expect.stringMatching(/ targets \(\S+Z\).*; sign it again/),
    })
  })

  it('warns at a half, three quarters and seven eighths of its life, and when it has ended', async () => {
    await takeOffline('root', 'targets')
    const passed = async (ms: number) => (await later(ms)).warnings.map(({ role, passed }) => [role, passed])
    expect(await passed(89 * dayMs)).toEqual([])
    expect(await passed(90 * dayMs)).toEqual([['targets', 0.5]])
    expect(await passed(135 * dayMs)).toEqual([['targets', 0.75]])
    expect(await passed(158 * dayMs)).toEqual([['targets', 0.875]])
    expect((await later(158 * dayMs)).warnings[0]?.sentence).toContain('sign it again where the key is kept')
  })

  it('does not stop the rest from being signed', async () => {
    await takeOffline('root', 'targets', 'snapshot')
    expect((await later(12 * hourMs)).resigned).toEqual(['timestamp'])
    // Snapshot ran out: a fresh timestamp would help nobody, and the warning says what would.
    const late = await later(8 * dayMs)
    expect(late.resigned).toEqual([])
    expect(late.warnings).toMatchObject([{ role: 'snapshot', passed: 1 }])
  })

  it('asks to be called at each of these moments', async () => {
    await takeOffline('snapshot')
    expect((await later(3.4 * dayMs)).nextDueMs).toBe(start + 3.5 * dayMs)
  })
})
