import { createReadStream } from 'node:fs'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decideContent, serveContent } from '../../src/http/serve-content.ts'

const bytes = Buffer.from('0123456789abcdef')
let opened = 0
let destroyed = 0
let closed = 0
let app: FastifyInstance
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-content-'))
  app = fastify()
  app.get('/kernel', (request, reply) =>
    serveContent(request, reply, {
      size: bytes.length,
      etag: 'v1',
      contentType: 'application/octet-stream',
      close() {
        closed++
      },
      stream(range) {
        opened++
        return Readable.from([range ? bytes.subarray(range.start, range.end + 1) : bytes])
      },
    }),
  )
  app.get('/in-memory', (request, reply) =>
    serveContent(request, reply, {
      size: bytes.length,
      etag: 'v1',
      contentType: 'application/json',
      stream: (range) => new Uint8Array(bytes).subarray(range!.start, range!.end + 1),
    }),
  )
  app.get('/empty', (request, reply) =>
    serveContent(request, reply, {
      size: 0,
      etag: 'none',
      contentType: 'text/plain',
      stream: () => Readable.from([]),
    }),
  )
  app.get('/endless', (request, reply) =>
    serveContent(request, reply, {
      size: 2 ** 40,
      etag: 'big',
      contentType: 'application/octet-stream',
      stream: () =>
        new Readable({
          read() {
            this.push(Buffer.alloc(65_536))
          },
          destroy(error, done) {
            destroyed++
            done(error)
          },
        }),
    }),
  )
  app.get('/shrunk', (request, reply) =>
    serveContent(request, reply, {
      size: 1000,
      etag: 'file',
      contentType: 'application/octet-stream',
      stream: () => createReadStream(join(folder, 'file')),
    }),
  )
  await writeFile(join(folder, 'file'), Buffer.alloc(1000))
  await app.listen({ host: '127.0.0.1', port: 0 })
})

afterAll(async () => {
  await app.close()
  await rm(folder, { recursive: true })
})

const url = (path: string) => `http://127.0.0.1:${(app.server.address() as { port: number }).port}${path}`
const get = (headers: Record<string, string>, method = 'GET', path = '/kernel') =>
  fetch(url(path), { method, headers })

describe('a file served to firmware', () => {
  test('comes whole, with its length, a strong ETag and the offer of ranges', async () => {
    const reply = await get({})
    expect(reply.status).toBe(200)
    expect(Object.fromEntries(reply.headers)).toMatchObject({
      'content-length': '16',
      etag: '"v1"',
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
    })
    expect(await reply.text()).toBe(bytes.toString())
  })

  test('HEAD tells the length of the whole and opens nothing, even with a Range', async () => {
    const before = opened
    for (const headers of [{}, { range: 'bytes=2-3' }]) {
      const reply = await get(headers, 'HEAD')
      expect([reply.status, reply.headers.get('content-length')]).toEqual([200, '16'])
    }
    expect(opened).toBe(before)
  })

  test.each([
    ['bytes=0-3', '0123', 'bytes 0-3/16'],
    ['bytes=12-', 'cdef', 'bytes 12-15/16'],
    ['bytes=-2', 'ef', 'bytes 14-15/16'],
    ['bytes=10-9999', 'abcdef', 'bytes 10-15/16'],
    ['bytes=-9999', bytes.toString(), 'bytes 0-15/16'],
    ['bytes=15-15', 'f', 'bytes 15-15/16'],
  ])('%s gives exactly those bytes', async (range, body, contentRange) => {
    const reply = await get({ range })
    expect([reply.status, reply.headers.get('content-range'), await reply.text()]).toEqual([
      206,
      contentRange,
      body,
    ])
    expect(reply.headers.get('content-length')).toBe(String(body.length))
  })

  test.each(['bytes=16-', 'bytes=-0', 'bytes=99-100'])(
    '%s lies outside: 416 and the real size',
    async (range) => {
      const reply = await get({ range })
      expect([reply.status, reply.headers.get('content-range'), await reply.text()]).toEqual([
        416,
        'bytes */16',
        '',
      ])
    },
  )

  test.each(['bytes=3-2', 'bytes=0-1,4-5', 'lines=0-3', 'bytes=-', 'bytes=a-b', 'nonsense'])(
    'a Range that is malformed or several (%s) is ignored',
    async (range) => {
      const reply = await get({ range })
      expect([reply.status, await reply.text()]).toEqual([200, bytes.toString()])
    },
  )

  test('If-Range with another version sends the new file whole instead of mixing two', async () => {
    expect((await get({ range: 'bytes=4-', 'if-range': '"v1"' })).status).toBe(206)
    for (const other of ['"v0"', 'W/"v1"', 'Wed, 21 Oct 2015 07:28:00 GMT']) {
      expect((await get({ range: 'bytes=4-', 'if-range': other })).status).toBe(200)
    }
  })

  test.each(['"v1"', 'W/"v1"', '"a,b", "v1"', '*'])(
    'If-None-Match %s: 304 without a body',
    async (header) => {
      const before = opened
      for (const method of ['GET', 'HEAD']) {
        const reply = await get({ 'if-none-match': header, range: 'bytes=0-1' }, method)
        expect([reply.status, reply.headers.get('etag'), await reply.text()]).toEqual([304, '"v1"', ''])
      }
      expect(opened).toBe(before)
    },
  )

  test('what was opened is given back once: by its stream, or without one by itself', async () => {
    const [openedBefore, closedBefore] = [opened, closed]
    await get({}, 'HEAD')
    await get({ 'if-none-match': '*' })
    await get({ range: 'bytes=99-' })
    expect([opened, closed]).toEqual([openedBefore, closedBefore + 3])
    await get({})
    await get({ range: 'bytes=0-3' })
    expect([opened, closed]).toEqual([openedBefore + 2, closedBefore + 3])
  })

  test('If-Match with another version: 412', async () => {
    expect((await get({ 'if-match': '"v2"' })).status).toBe(412)
    expect((await get({ 'if-match': '"v2", "v1"' })).status).toBe(200)
  })

  test('that is in memory already is sent as it is, whole and in part', async () => {
    expect(await (await get({}, 'GET', '/in-memory')).text()).toBe(bytes.toString())
    const reply = await get({ range: 'bytes=2-3' }, 'GET', '/in-memory')
    expect([reply.status, reply.headers.get('content-length'), await reply.text()]).toEqual([206, '2', '23'])
    const head = await get({}, 'HEAD', '/in-memory')
    expect([head.headers.get('content-length'), await head.text()]).toEqual(['16', ''])
  })

  test('an empty file is a reply of length 0, and no range of it can be satisfied', async () => {
    const reply = await get({}, 'GET', '/empty')
    expect([reply.status, reply.headers.get('content-length')]).toEqual([200, '0'])
    expect((await get({ range: 'bytes=0-' }, 'GET', '/empty')).status).toBe(416)
  })

  test('a client that leaves stops the reading', async () => {
    const abort = new AbortController()
    const reply = await fetch(url('/endless'), { signal: abort.signal })
    await reply.body!.getReader().read()
    abort.abort()
    await expect.poll(() => destroyed).toBe(1)
  })

  test('a file that shrank ends the connection instead of leaving the client waiting', async () => {
    await truncate(join(folder, 'file'), 10)
    const reply = await get({}, 'GET', '/shrunk')
    await expect(reply.arrayBuffer()).rejects.toThrow()
  })
})

test('whatever the headers say, the decision stays inside the file', () => {
  const header = fc.oneof(fc.string(), fc.stringMatching(/^bytes=\d{0,6}-\d{0,6}$/), fc.constant('"v1"'))
  fc.assert(
    fc.property(
      fc.record({ range: header, 'if-range': header, 'if-none-match': header }, { requiredKeys: [] }),
      fc.nat({ max: 1000 }),
      (headers, size) => {
        const decision = decideContent('GET', headers, { size, etag: 'v1' })
        if (decision.status !== 206) return
        expect(decision.range.start).toBeGreaterThanOrEqual(0)
        expect(decision.range.end).toBeGreaterThanOrEqual(decision.range.start)
        expect(decision.range.end).toBeLessThan(size)
      },
    ),
  )
})
