/** kill -9 of the whole server while releases are published into it: it starts again, and what was said to be done is done. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ImagesView } from '../../src/http/admin-images.ts'
import { parseImageManifest } from '../../src/oci/manifest.ts'
import { muster, type ServerProcess, startMuster, startServerProcess } from '../support/muster-process.ts'
import { tinyImage, writeTinyLayout } from '../support/server.ts'

const rounds = 10
const seed = Number(process.env['MUSTER_SEED'] ?? Date.now() % 2 ** 31)
/** Large enough that an upload takes a moment. */
const blobBytes = 12_000_000

let folder: string
let data: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-killed-server-'))
  data = join(folder, 'data')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** One moment out of each of `rounds` equal parts of the time that the server works on a publish. */
function moments(wholeMs: number): number[] {
  const dice = (round: number) =>
    createHash('sha256').update(`${seed} ${round}`).digest().readUInt32BE() / 2 ** 32
  return Array.from({ length: rounds }, (_, round) => ((round + dice(round)) / rounds) * wholeMs)
}

async function layoutOf(version: string): Promise<string> {
  return writeTinyLayout(join(folder, `layout-${version}`), tinyImage(version, { bytes: blobBytes }))
}

const publishing = (layout: string, version: string) =>
  startMuster(['image', 'publish', layout, '--as', `edge-os/${version}`, '--data', data])

/** Resolves when the first byte of the kernel is on the server's disk. */
async function underWay(version: string): Promise<void> {
  const hex = createHash('sha256')
    .update(tinyImage(version, { bytes: blobBytes }).kernel)
    .digest('hex')
  const places = ['partial', 'sha256'].map((kind) => join(data, 'blobs', kind, hex))
  for (let tries = 0; !places.some((place) => existsSync(place)); tries += 1) {
    if (tries > 10_000) throw new Error(`nothing of ${version} arrives`)
    await sleep(2)
  }
}

async function images(): Promise<ImagesView> {
  const { code, out, err } = await muster(['images', '--json', '--data', data])
  expect([code, err]).toEqual([0, ''])
  return JSON.parse(out) as ImagesView
}

const blobUrl = ({ firmware }: ServerProcess, digest: string) =>
  `${firmware}/tuf/main/blobs/sha256/${digest.slice('sha256:'.length)}`

/** All of a blob as a machine gets it, checked against its name. */
async function wholeBlob(server: ServerProcess, digest: string): Promise<Uint8Array<ArrayBuffer>> {
  const answer = await fetch(blobUrl(server, digest))
  expect(answer.status, digest).toBe(200)
  const bytes = new Uint8Array(await answer.arrayBuffer())
  expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(digest)
  return bytes
}

/** Every release is whole for machines, and nothing that is not whole is there for them. */
async function judge(
  server: ServerProcess,
  options: { readAtMost: number },
): Promise<{ versions: string[]; halves: number }> {
  const view = await images()
  expect(view.skipped).toEqual([])
  const releases = view.images.flatMap((image) => image.releases)
  const named = new Set<string>()
  for (const [index, { digest }] of releases.entries()) {
    const manifest = parseImageManifest(await wholeBlob(server, digest))
    named.add(digest)
    for (const blob of [manifest.config, ...manifest.layers]) {
      named.add(blob.digest)
      const { status, headers } = await fetch(blobUrl(server, blob.digest), { method: 'HEAD' })
      expect([status, headers.get('content-length')]).toEqual([200, String(blob.size)])
      if (index < options.readAtMost) await wholeBlob(server, blob.digest)
    }
  }
  const [channel] = view.images[0]?.channels ?? []
  expect(channel?.version).toBe(releases[0]?.version)
  const halves = await readdir(join(data, 'blobs/partial'))
  for (const hex of halves) expect((await fetch(blobUrl(server, `sha256:${hex}`))).status, hex).toBe(404)
  // Admitted, because signed targets listed it, but the server died before these were its own: whole, or not there.
  for (const hex of await readdir(join(data, 'blobs/sha256'))) {
    const digest = `sha256:${hex}`
    if (named.has(digest)) continue
    const { status } = await fetch(blobUrl(server, digest), { method: 'HEAD' })
    if (status === 404) continue
    await wholeBlob(server, digest)
  }
  return { versions: releases.map(({ version }) => version), halves: halves.length }
}

test(`kill -9 of the server ${rounds} times during publishing (MUSTER_SEED=${seed})`, {
  timeout: 300_000,
}, async () => {
  let server = await startServerProcess(data)
  await using stack = new AsyncDisposableStack()
  stack.defer(() => server.kill())
  const first = publishing(await layoutOf('0.0'), '0.0')
  await underWay('0.0')
  const startedMs = performance.now()
  expect((await first.ended).code).toBe(0)
  const wholeMs = performance.now() - startedMs

  let acknowledged = ['0.0']
  let [cutShort, halves] = [0, 0]
  for (const [round, moment] of moments(wholeMs).entries()) {
    const version = `${round + 1}.0`
    const command = publishing(await layoutOf(version), version)
    await underWay(version)
    await sleep(moment)
    await server.kill()
    const { code, err } = await command.ended
    if (code === 0) acknowledged = [version, ...acknowledged]
    else {
      cutShort += 1
      expect(err, 'the command line says it in a sentence').toMatch(/^muster: /)
      expect(err).not.toMatch(/^\s+at /m)
    }

    server = await startServerProcess(data)
    // The newest is the one that may be half there; all of them once more at the end.
    const now = await judge(server, { readAtMost: 1 })
    halves += now.halves
    expect(now.versions).toEqual(expect.arrayContaining(acknowledged))
    // Signed and kept, but the server died before it could say so: that may be; anything else may not.
    const unsaid = now.versions.filter((one) => !acknowledged.includes(one))
    expect([[], [version]]).toContainEqual(unsaid)
    // The same command again finishes what was cut short.
    if (code !== 0) {
      const again = await publishing(join(folder, `layout-${version}`), version).ended
      expect([again.code, again.err], 'the same command again').toEqual([0, expect.any(String)])
    }
    acknowledged = (await images()).images.flatMap(({ releases }) => releases.map(({ version }) => version))
    expect(acknowledged).toContain(version)
    await rm(join(folder, `layout-${version}`), { recursive: true })
  }
  // Otherwise the moments were none.
  expect(cutShort).toBeGreaterThan(rounds / 3)
  expect(halves).toBeGreaterThan(0)
  await judge(server, { readAtMost: rounds + 1 })
  await server.kill()
  const timestamp = JSON.parse(await readFile(join(data, 'tuf/main/metadata/timestamp.json'), 'utf8')) as {
    signed: { version: number }
  }
  expect(timestamp.signed.version).toBeGreaterThanOrEqual(rounds + 1)
  console.info(`${cutShort} of ${rounds} publishes were cut short, ${halves} with a half blob on the disk`)
})

test('a blob of which all bytes came before the server died is taken up without sending it again, and checked', {
  timeout: 60_000,
}, async () => {
  const place = join(folder, 'complete')
  await using server = await startServerProcess(place)
  for (const [version, spoilt] of [
    ['1.0', false],
    ['2.0', true],
  ] as const) {
    const image = tinyImage(`complete ${version}`, { bytes: 500_000 })
    const layout = await writeTinyLayout(join(folder, `complete-${version}`), image)
    const digest = `sha256:${createHash('sha256').update(image.kernel).digest('hex')}`
    await mkdir(join(place, 'blobs/partial'), { recursive: true })
    const there = Buffer.from(image.kernel)
    if (spoilt) there[7] = 0
    await writeFile(join(place, 'blobs/partial', digest.slice('sha256:'.length)), there)
    const command = ['image', 'publish', layout, '--as', `edge-os/${version}`, '--data', place]
    const { code, err } = await muster(command)
    expect([code, err]).toEqual([0, expect.any(String)])
    expect(Buffer.from(await wholeBlob(server, digest)).equals(image.kernel)).toBe(true)
  }
})
