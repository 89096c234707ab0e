/** kill -9 at random moments: nothing half is served afterwards, and nothing that was acknowledged is lost. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { image, openSite, publish, removeSite, type Site, serve } from './world.ts'

const rounds = 20
const program = join(import.meta.dirname, 'killed-process.ts')
const seed = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31)

let data: string
let random: () => number
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-killed-'))
  random = generator(seed)
})
afterEach(() => rm(data, { recursive: true, force: true }))

/** mulberry32: a seed on the console is enough to see the same moments again. */
function generator(state: number): () => number {
  let at = state
  return () => {
    at = (at + 0x6d2b79f5) | 0
    let mixed = Math.imul(at ^ (at >>> 15), 1 | at)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Runs the program and kills it `afterMs` after the line `from`; gives the lines after `ready` that it finished. */
async function runAndKill(args: string[], from: 'starting' | 'ready', afterMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let complaint = ''
  const reached = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes(`${from}\n`)) resolve()
    })
  })
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString()
  })
  const closed = once(child, 'close')
  await Promise.race([reached, closed])
  await Promise.race([sleep(afterMs), closed])
  // It never ends by itself: if it did, it says why.
  expect(complaint).toBe('')
  expect(child.exitCode).toBeNull()
  child.kill('SIGKILL')
  await closed
  const lines = output.split('\n').slice(0, -1)
  return lines.slice(lines.indexOf('ready') + 1)
}

/** Every release that is offered is read to its last byte, each blob checked against its digest. */
async function readEverything(site: Site): Promise<string[]> {
  const versions: string[] = []
  for (const { releases } of site.releases.catalog().images()) {
    for (const release of releases) {
      versions.push(release.version)
      const admission = site.store.admitted().find((one) => one.manifest.digest === release.manifest.digest)
      for (const { digest, size } of [
        release.manifest,
        ...(admission?.blobs ?? [{ digest: 'none', size: 0 }]),
      ]) {
        const blob = await site.store.open(digest)
        expect(blob.size).toBe(size)
        await blob.close()
      }
    }
  }
  return versions
}

describe(`kill -9 (MUSTER_SEED=${seed})`, () => {
  it(`${rounds} times during publishing`, { timeout: 240_000 }, async () => {
    let acknowledged: string[] = []
    let published = 0
    for (let round = 0; round < rounds; round += 1) {
      const lines = await runAndKill(['publish', data], 'ready', random() * 150)
      acknowledged = [...acknowledged, ...lines]
      const site = await openSite({ data })
      const versions = await readEverything(site)
      expect(versions).toEqual(expect.arrayContaining(acknowledged))
      // At most the one that was being published when the process died.
      expect(versions.length - published - lines.length).toBeLessThanOrEqual(1)
      acknowledged = versions
      published = versions.length
      await site[Symbol.asyncDispose]()
    }
    expect(published).toBeGreaterThan(0)
  })

  it('during the very first start', { timeout: 120_000 }, async () => {
    for (let round = 0; round < 8; round += 1) {
      const fresh = join(data, `fresh-${round}`)
      await runAndKill(['publish', fresh], 'starting', random() * 60)
      const site = await openSite({ data: fresh })
      await publish(site, 'after')
      expect(await readEverything(site)).toContain('after')
      await site[Symbol.asyncDispose]()
    }
  })

  it(`${rounds} times during a pull`, { timeout: 240_000 }, async () => {
    const origin = await openSite()
    const upstream = await serve(origin)
    await writeFile(join(data, 'pinned-root.json'), await origin.releases.trustedRoot())
    const pin = { url: upstream.url, root: await origin.releases.trustedRoot() }
    let timestamp = 0
    for (let round = 0; round < rounds; round += 1) {
      const version = `${round}.0`
      await publish(origin, version, { source: image(version, { bytes: 2_000_000 }) })
      const lines = await runAndKill(['follow', data, upstream.url], 'ready', random() * 80)
      const site = await openSite({ data, upstream: pin })
      timestamp = Math.max(timestamp, Number(lines.at(-1) ?? 0))
      if (timestamp > 0) {
        await readEverything(site)
        const now = site.releases.catalog().trusted.versions.timestamp
        expect(now).toBeGreaterThanOrEqual(timestamp)
        timestamp = now
      }
      await site[Symbol.asyncDispose]()
    }
    const site = await openSite({ data, upstream: pin })
    await site.releases.sync()
    expect(await readEverything(site)).toHaveLength(rounds)
    await site[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
    await removeSite(origin)
  })
})
