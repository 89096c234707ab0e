/**
 * kill -9 at moments spread over all file operations of a publish, a removal, a pull and a first start: nothing half is served
 * afterwards, and nothing that was acknowledged is lost.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { seededRandom } from '../support/seeded-random.ts'
import { image, openSite, publish, removeSite, type Site, serve } from './world.ts'

const rounds = 20
const program = join(import.meta.dirname, 'killed-process.ts')
const seed = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31)

let data: string
let random: () => number
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-killed-'))
  random = seededRandom(seed)
})
afterEach(() => rm(data, { recursive: true, force: true }))

/** One operation out of each of `count` equal parts of 1..operations, so that no part is left out. */
function moments(operations: number, count = rounds): number[] {
  const part = operations / count
  return Array.from({ length: count }, (_, round) => 1 + Math.floor((round + random()) * part))
}

type Acknowledged = { what: string; operations: number } | undefined

async function run(work: string, folder: string, killAt: number, url = ''): Promise<Acknowledged> {
  const args = [program, work, folder, String(killAt), url]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  const [status, signal] = await once(child, 'close')
  const [what, operations] = (output.split('\n').at(-2) ?? 'ready').split(' ')
  if (what === undefined || what === 'ready' || what === '') {
    expect([status, signal]).toEqual([null, 'SIGKILL'])
    return undefined
  }
  return { what, operations: Number(operations) }
}

/** Every release that is offered is read to its last byte, each blob checked against its digest. */
async function readEverything(site: Site): Promise<string[]> {
  const versions: string[] = []
  for (const { releases } of site.releases.catalog().images()) {
    for (const release of releases) {
      versions.push(release.version)
      const admission = site.store.admitted().find((one) => one.manifest.digest === release.manifest.digest)
      expect(admission?.blobs).toHaveLength(3)
      for (const { digest, size } of [release.manifest, ...(admission?.blobs ?? [])]) {
        // Opened first by this process, so hashed.
        const blob = await site.store.open(digest)
        expect(blob.size).toBe(size)
        await blob.close()
      }
    }
  }
  expect(site.releases.catalog().skipped).toEqual([])
  return versions
}

describe(`kill -9 (MUSTER_SEED=${seed})`, () => {
  it(`${rounds} times during publishing`, { timeout: 240_000 }, async () => {
    const first = await run('publish', data, 0)
    expect(first?.what).toBe('1.0')
    let versions = ['1.0']
    for (const moment of moments(first?.operations ?? 0)) {
      const acknowledged = await run('publish', data, moment)
      const site = await openSite({ data })
      const now = await readEverything(site)
      expect(now).toEqual(expect.arrayContaining(versions))
      if (acknowledged !== undefined) expect(now).toContain(acknowledged.what)
      expect(now.length - versions.length).toBeLessThanOrEqual(1)
      versions = now
      // What machines read is the same: the newest release is the one that the channel names.
      const { release } = site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' })
      expect(release.version).toBe(`${now.length}.0`)
      await site[Symbol.asyncDispose]()
    }
    expect((await run('publish', data, 0))?.what).toBe(`${versions.length + 1}.0`)
  })

  it(`${rounds} times during a removal: a release is there or not, and the channel names one that is`, {
    timeout: 240_000,
  }, async () => {
    const site = await openSite({ data })
    for (let number = 1; number <= rounds + 2; number++) await publish(site, `${number}.0`)
    let left = rounds + 2
    await site[Symbol.asyncDispose]()
    const whole = await run('remove', data, 0)
    expect(whole?.what).toBe(`${left}.0`)
    left -= 1
    for (const moment of moments(whole?.operations ?? 0)) {
      const acknowledged = await run('remove', data, moment)
      const site = await openSite({ data })
      const now = await readEverything(site)
      const gone = left - now.length
      expect([0, 1]).toContain(gone)
      if (acknowledged !== undefined) expect(gone).toBe(1)
      left = now.length
      const { release } = site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' })
      expect(release.version).toBe(`${left}.0`)
      // What a machine that is under way loads is here, removed or not.
      for (const { manifest } of site.store.admitted()) await (await site.store.open(manifest.digest)).close()
      await site[Symbol.asyncDispose]()
    }
    expect((await run('remove', data, 0))?.what).toBe(`${left}.0`)
  })

  it(`${rounds} times during a pull`, { timeout: 240_000 }, async () => {
    const origin = await openSite()
    const upstream = await serve(origin)
    const root = await origin.releases.trustedRoot()
    const pin = { url: upstream.url, root }
    await publish(origin, 'first', { source: image('first', { bytes: 200_000 }) })
    await writeFile(join(data, 'pinned-root.json'), root)
    const whole = await run('follow', data, 0, upstream.url)
    expect(whole?.what).toBe('2')
    let timestamp = 2
    for (const [round, moment] of moments(whole?.operations ?? 0).entries()) {
      const version = `${round}.0`
      await publish(origin, version, { source: image(version, { bytes: 200_000 }) })
      const acknowledged = await run('follow', data, moment, upstream.url)
      const site = await openSite({ data, upstream: pin })
      await readEverything(site)
      const now = site.releases.catalog().trusted.versions.timestamp
      expect(now).toBeGreaterThanOrEqual(Math.max(timestamp, Number(acknowledged?.what ?? 0)))
      timestamp = now
      await site[Symbol.asyncDispose]()
    }
    expect((await run('follow', data, 0, upstream.url))?.what).toBe(String(rounds + 2))
    await upstream[Symbol.asyncDispose]()
    await removeSite(origin)
  })

  it('ten times during the very first start', { timeout: 240_000 }, async () => {
    const whole = await run('init', join(data, 'whole'), 0)
    for (const [round, moment] of moments((whole?.operations ?? 0) * 0.6, 10).entries()) {
      const fresh = join(data, `fresh-${round}`)
      await run('init', fresh, moment)
      const site = await openSite({ data: fresh })
      await publish(site, 'after')
      expect(await readEverything(site)).toContain('after')
      await site[Symbol.asyncDispose]()
    }
  })
})
