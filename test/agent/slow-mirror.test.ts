/** Mirrors that send, and would go on sending for days. Real curl, real seconds, few of them. */
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { downloadBlob } from '../../src/agent/download.ts'
import { defaultLimits, type Limits } from '../../src/agent/limits.ts'
import { createNodeHost } from './node-host.ts'

const blob = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251))
const limits: Limits = { ...defaultLimits, mirrorSeconds: 1, backoffFirstMs: 10, backoffMostMs: 20 }

let folder: string
const servers: Server[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-slow-'))
})
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
  await rm(folder, { recursive: true })
})

type Mirror = { url: string; ranges: (string | undefined)[] }

/** Sends `first` bytes at once and the rest at `bytesPerSecond`. */
async function mirror(
  options: { bytesPerSecond?: number; first?: number; bytes?: Buffer; knowsRanges?: boolean } = {},
): Promise<Mirror> {
  const { bytesPerSecond = Number.POSITIVE_INFINITY, first = 0, bytes = blob, knowsRanges = true } = options
  const ranges: Mirror['ranges'] = []
  const server = createServer((request, response) => {
    ranges.push(request.headers.range)
    const start = knowsRanges ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0
    const length = { 'content-length': bytes.length - start }
    if (start === 0) response.writeHead(200, length)
    else
      response.writeHead(206, {
        ...length,
        'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
      })
    let at = start
    const send = (count: number) => {
      const end = Math.min(bytes.length, at + count)
      response.write(bytes.subarray(at, end))
      at = end
      if (at === bytes.length) response.end()
    }
    if (bytesPerSecond === Number.POSITIVE_INFINITY) return send(bytes.length)
    if (start === 0 && first > 0) send(first)
    const timer = setInterval(() => send(bytesPerSecond / 10), 100)
    response.on('close', () => clearInterval(timer))
    response.on('finish', () => clearInterval(timer))
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/blob`, ranges }
}

async function download(mirrors: Mirror[], change: Partial<Limits> = {}, wanted = blob): Promise<Buffer> {
  const path = join(folder, 'blob')
  await downloadBlob(
    { host: createNodeHost({ binFolder: folder }), limits: { ...limits, ...change } },
    {
      sources: mirrors.map(({ url }) => ({ url })),
      sha256: createHash('sha256').update(wanted).digest('hex'),
      size: wanted.length,
      path,
      offset: 0,
      onProgress: async () => {},
    },
  )
  return readFile(path)
}

describe('a mirror that drips', () => {
  test('is left for the next one, which goes on where it stopped', async () => {
    const [drip, good] = [await mirror({ bytesPerSecond: 10_000 }), await mirror()]
    expect(await download([drip, good])).toEqual(blob)
    expect(drip.ranges).toEqual([undefined])
    expect(good.ranges).toEqual([expect.stringMatching(/^bytes=\d{4,5}-$/)])
  })

  test('is left also when it was fast at first', async () => {
    const [drip, good] = [await mirror({ bytesPerSecond: 10_000, first: 200_000 }), await mirror()]
    expect(await download([drip, good])).toEqual(blob)
    expect(good.ranges).toEqual([expect.stringMatching(/^bytes=2\d{5}-$/)])
  })

  test('is left for one that knows no ranges, too', async () => {
    const drip = await mirror({ bytesPerSecond: 10_000 })
    const good = await mirror({ knowsRanges: false })
    expect(await download([drip, good])).toEqual(blob)
  })

  test('and lies costs the next one a second transfer, and nobody the boot', async () => {
    const drip = await mirror({ bytesPerSecond: 10_000, bytes: Buffer.alloc(blob.length) })
    const good = await mirror()
    expect(await download([drip, good])).toEqual(blob)
    expect(good.ranges).toEqual([expect.stringMatching(/^bytes=/), undefined])
  })

  test('is not believed where it sends too much of what is wrong: the next one is asked for all of it', async () => {
    // A multiple of a pipe's page, so that the last wrong byte comes in a piece of its own.
    const size = 75 * 4096
    const right = Buffer.alloc(size, 'right')
    const lying = await mirror({ bytesPerSecond: 10, first: size, bytes: Buffer.alloc(size + 1) })
    const good = await mirror({ bytes: right })
    expect(await download([lying, good], {}, right)).toEqual(right)
    expect(good.ranges).toContain(undefined)
  })
  test('is waited for where it is the only one: lines that slow exist', async () => {
    const drip = await mirror({ bytesPerSecond: 60_000, first: 150_000 })
    expect(await download([drip])).toEqual(blob)
    expect(drip.ranges).toEqual([undefined])
  })

  test('does not hold the machine for ever where it is the only one', async () => {
    const drip = await mirror({ bytesPerSecond: 10_000 })
    await expect(download([drip], { blobSeconds: 1, blobBytesPerSecond: 1_000_000 })).rejects.toMatchObject({
      code: 'blob-unavailable',
      message: expect.stringMatching(/too slow: \d+ of 300000 bytes are here, and the 1 s are over/),
    })
  })
})

test('where every mirror is slow, the fastest of them goes on', async () => {
  const slowest = await mirror({ bytesPerSecond: 10_000 })
  const slow = await mirror({ bytesPerSecond: 60_000, first: 100_000 })
  const silent = await mirror({ bytesPerSecond: 20_000 })
  expect(await download([slowest, slow, silent])).toEqual(blob)
  expect(slowest.ranges).toHaveLength(1)
  expect(silent.ranges).toHaveLength(1)
  expect(slow.ranges).toHaveLength(2)
})

test('a mirror that is slow and right is asked again where the next one has nothing', async () => {
  const slow = await mirror({ bytesPerSecond: 60_000 })
  const empty = { url: slow.url.replace('/blob', '/missing').replace(/:\d+/, ':9'), ranges: [] }
  expect(await download([slow, empty])).toEqual(blob)
  expect(slow.ranges).toHaveLength(2)
}, 20_000)
