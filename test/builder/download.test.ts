import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fetchPackages } from '../../src/builder/download.ts'
import type { LockedPackage } from '../../src/builder/lock.ts'

const bytes = Buffer.alloc(200_000, 'a package ')
const item: LockedPackage = {
  name: 'quickjs',
  version: '1.0-1',
  architectures: ['amd64'],
  sets: ['agent'],
  path: 'pool/main/q/quickjs/quickjs_1.0-1_amd64.deb',
  bytes: bytes.length,
  sha256: createHash('sha256').update(bytes).digest('hex'),
}
const file = 'quickjs_1.0-1_amd64.deb'

let cacheDir: string
let stop: (() => Promise<void>)[] = []
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'muster-download-'))
})
afterEach(async () => {
  for (const each of stop) await each()
  stop = []
  await rm(cacheDir, { recursive: true, force: true })
})

/** A mirror on loopback; gives its URL and the requests it saw (`GET range`). */
async function mirror(answer: RequestListener): Promise<{ url: string; ranges: (string | undefined)[] }> {
  const ranges: (string | undefined)[] = []
  const server = createServer((request, response) => {
    ranges.push(request.headers.range)
    answer(request, response)
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  stop.push(async () => {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ranges }
}

const honest: RequestListener = (request, response) => {
  if (request.url !== `/${item.path}`) return void response.writeHead(404).end()
  const from = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1]
  if (from === undefined) return void response.end(bytes)
  response.writeHead(206, { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` })
  response.end(bytes.subarray(Number(from)))
}

const fetchItem = (mirrors: string[], more = {}) =>
  fetchPackages([item], { mirrors, cacheDir, attempts: 2, retryDelayMs: 1, ...more })

describe('packages from a mirror', () => {
  test('come once: the second time they are taken from the cache', async () => {
    const { url, ranges } = await mirror(honest)
    const files = await fetchItem([url])
    expect(await readFile(files.get('quickjs')!)).toEqual(bytes)
    await fetchItem([url])
    expect(ranges).toHaveLength(1)
  })

  test('are fetched again when the file in the cache has changed', async () => {
    const { url, ranges } = await mirror(honest)
    await fetchItem([url])
    await writeFile(join(cacheDir, file), Buffer.alloc(bytes.length, 'x'))
    expect(await readFile((await fetchItem([url])).get('quickjs')!)).toEqual(bytes)
    expect(ranges).toHaveLength(2)
  })

  test('report how far they are, to the last byte', async () => {
    const reports: number[] = []
    const { url } = await mirror(honest)
    await fetchItem([url], {
      progress: (report: { doneBytes: number; totalBytes: number }) => reports.push(report.doneBytes),
    })
    expect(reports.at(-1)).toBe(bytes.length)
  })
})

describe('a download that breaks off', () => {
  const breaksAt = (length: number): RequestListener => {
    let broken = false
    return (request, response) => {
      if (broken) return honest(request, response)
      broken = true
      response.writeHead(200, { 'content-length': bytes.length })
      response.write(bytes.subarray(0, length), () => setTimeout(() => response.destroy(), 20))
    }
  }

  test('goes on where it was', async () => {
    const { url, ranges } = await mirror(breaksAt(70_000))
    expect(await readFile((await fetchItem([url])).get('quickjs')!)).toEqual(bytes)
    expect(ranges).toEqual([undefined, 'bytes=70000-'])
  })

  test('goes on in the next run', async () => {
    const first = await mirror(breaksAt(50_000))
    await expect(fetchItem([first.url], { attempts: 1 })).rejects.toMatchObject({ code: 'download-failed' })
    const second = await mirror(honest)
    expect(await readFile((await fetchItem([second.url])).get('quickjs')!)).toEqual(bytes)
    expect(second.ranges).toEqual(['bytes=50000-'])
  })

  test('goes on where it was after a mirror was too busy for a moment', async () => {
    const breaks = breaksAt(70_000)
    let asked = 0
    const { url, ranges } = await mirror((request, response) => {
      asked += 1
      if (asked === 2) response.writeHead(503).end()
      else breaks(request, response)
    })
    await fetchItem([url], { attempts: 3 })
    expect(ranges).toEqual([undefined, 'bytes=70000-', 'bytes=70000-'])
  })

  test('goes on after the process was killed', async () => {
    // No process has this number: Linux stops at 2^22.
    await writeFile(join(cacheDir, `${file}.partial-9999999-1-abc`), bytes.subarray(0, 60_000))
    const { url, ranges } = await mirror(honest)
    expect(await readFile((await fetchItem([url])).get('quickjs')!)).toEqual(bytes)
    expect(ranges).toEqual(['bytes=60000-'])
    expect(await readdir(cacheDir)).toEqual([file])
  })

  test('by a process that still runs is left alone, and several at once do not disturb each other', async () => {
    await writeFile(join(cacheDir, `${file}.partial-1-1-abc`), 'not ours')
    const { url } = await mirror(honest)
    const all = await Promise.all([fetchItem([url]), fetchItem([url]), fetchItem([url])])
    for (const files of all) expect(await readFile(files.get('quickjs')!)).toEqual(bytes)
    expect((await readdir(cacheDir)).sort()).toEqual([file, `${file}.partial-1-1-abc`])
  })

  test('starts again where the mirror ignores Range', async () => {
    await writeFile(join(cacheDir, `${file}.partial`), bytes.subarray(0, 1000))
    const { url } = await mirror((_, response) => void response.end(bytes))
    expect(await readFile((await fetchItem([url])).get('quickjs')!)).toEqual(bytes)
  })

  test('starts again when what was there before is not a part of it', async () => {
    await writeFile(join(cacheDir, `${file}.partial`), Buffer.alloc(1000, 'z'))
    const { url } = await mirror(honest)
    expect(await readFile((await fetchItem([url])).get('quickjs')!)).toEqual(bytes)
  })
})

describe('a mirror that is no good', () => {
  test('and lacks that version is said so, with the package and the way out', async () => {
    const { url } = await mirror((_, response) => void response.writeHead(404).end())
    await expect(fetchItem([url])).rejects.toMatchObject({
      code: 'package-missing',
      message: expect.stringMatching(/quickjs 1\.0-1.*--refresh/),
    })
  })

  test('is passed over for the next', async () => {
    const empty = await mirror((_, response) => void response.writeHead(404).end())
    const { url } = await mirror(honest)
    expect(await readFile((await fetchItem([empty.url, url])).get('quickjs')!)).toEqual(bytes)
  })

  test.each([
    ['sends other bytes of the same length', Buffer.alloc(bytes.length, 'b')],
    ['sends more than the lock says', Buffer.concat([bytes, Buffer.from('more')])],
    ['sends less', bytes.subarray(0, 1000)],
  ])('and %s is refused, and nothing of it stays under the name of the package', async (_, sent) => {
    const { url } = await mirror((_request, response) => void response.end(sent))
    await expect(fetchItem([url])).rejects.toMatchObject({ code: 'download-failed' })
    expect(await readdir(cacheDir)).not.toContain(file)
  })

  test('and falls silent is given up after a while', async () => {
    const { url } = await mirror((_, response) => void response.writeHead(200).write('a'))
    await expect(fetchItem([url], { idleTimeoutMs: 100, attempts: 1 })).rejects.toMatchObject({
      code: 'download-failed',
    })
  })

  test('is not there at all: the sentence names it', async () => {
    await expect(fetchItem(['http://127.0.0.1:9/debian'])).rejects.toMatchObject({
      code: 'download-failed',
      message: expect.stringContaining('http://127.0.0.1:9/debian'),
    })
  })
})
