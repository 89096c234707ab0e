import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import fastify, { type FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { ociPullRoutes } from '../../src/http/oci-pull.ts'

const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const blob = Buffer.from('the bytes of a kernel')
const manifest = Buffer.from('{"schemaVersion":2}')
const mediaType = 'application/vnd.oci.image.manifest.v1+json'
const [lost, damaged] = [`sha256:${'1'.repeat(64)}`, `sha256:${'2'.repeat(64)}`]
const asked: string[] = []

let app: FastifyInstance
beforeAll(async () => {
  app = fastify({ routerOptions: { maxParamLength: 512 } })
  await app.register(
    ociPullRoutes({
      async open(digest) {
        asked.push(digest)
        if (digest === lost) throw new MusterError('blob-unavailable', 'lost')
        if (digest === damaged) throw new MusterError('blob-digest', 'damaged')
        if (digest !== digestOf(blob)) return undefined
        return {
          size: blob.length,
          stream: (range) => Readable.from([range ? blob.subarray(range.start, range.end + 1) : blob]),
        }
      },
      async manifest(name, reference) {
        asked.push(`${name} ${reference}`)
        const here = name === 'hello/os' && ['1.0', digestOf(manifest)].includes(reference)
        return here ? { bytes: manifest, digest: digestOf(manifest), mediaType } : undefined
      },
      tags: async (name) => (name === 'hello/os' ? ['1.10', '1.0', '2.0'] : undefined),
    }),
  )
})
afterAll(() => app.close())

const ask = (url: string, method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE' = 'GET', headers = {}) =>
  app.inject({ url, method, headers })
const blobUrl = `/v2/hello/os/blobs/${digestOf(blob)}`

describe('the distribution API', () => {
  test.each(['/v2/', '/v2'])('says at %s that it is a registry', async (url) => {
    for (const method of ['GET', 'HEAD'] as const) {
      const reply = await ask(url, method)
      expect([reply.statusCode, reply.headers['docker-distribution-api-version']]).toEqual([
        200,
        'registry/2.0',
      ])
    }
  })

  test.each(['1.0', digestOf(manifest)])(
    'serves a manifest by %s with its type and digest',
    async (reference) => {
      const reply = await ask(`/v2/hello/os/manifests/${reference}`)
      expect([reply.statusCode, reply.body]).toEqual([200, manifest.toString()])
      expect(reply.headers).toMatchObject({
        'content-type': mediaType,
        'docker-content-digest': digestOf(manifest),
        'content-length': String(manifest.length),
        etag: `"${digestOf(manifest)}"`,
      })
      const head = await ask(`/v2/hello/os/manifests/${reference}`, 'HEAD')
      expect([head.statusCode, head.body, head.headers['content-length']]).toEqual([
        200,
        '',
        String(manifest.length),
      ])
      expect(head.headers['docker-content-digest']).toBe(digestOf(manifest))
    },
  )

  test('serves a blob whole, from the middle, and its size alone', async () => {
    const reply = await ask(blobUrl)
    expect([reply.statusCode, reply.body, reply.headers['docker-content-digest']]).toEqual([
      200,
      blob.toString(),
      digestOf(blob),
    ])
    const rest = await ask(blobUrl, 'GET', { range: 'bytes=4-' })
    expect([rest.statusCode, rest.body]).toEqual([206, blob.subarray(4).toString()])
    const head = await ask(blobUrl, 'HEAD')
    expect([head.statusCode, head.body, head.headers['content-length']]).toEqual([
      200,
      '',
      String(blob.length),
    ])
    expect((await ask(blobUrl, 'GET', { range: 'bytes=99-' })).statusCode).toBe(416)
    expect((await ask(blobUrl, 'GET', { 'if-none-match': `"${digestOf(blob)}"` })).statusCode).toBe(304)
  })

  test('lists tags in order, in pages that lead to each other', async () => {
    expect((await ask('/v2/hello/os/tags/list')).json()).toEqual({
      name: 'hello/os',
      tags: ['1.0', '1.10', '2.0'],
    })
    const first = await ask('/v2/hello/os/tags/list?n=2')
    expect(first.json().tags).toEqual(['1.0', '1.10'])
    expect(first.headers['link']).toBe('</v2/hello/os/tags/list?n=2&last=1.10>; rel="next"')
    const second = await ask('/v2/hello/os/tags/list?n=2&last=1.10')
    expect([second.json().tags, second.headers['link']]).toEqual([['2.0'], undefined])
    expect((await ask('/v2/hello/os/tags/list?n=0')).json().tags).toEqual([])
  })

  test.each([
    [`/v2/hello/os/blobs/sha256:${'0'.repeat(64)}`, 404, 'BLOB_UNKNOWN'],
    ['/v2/hello/os/blobs/sha256:abc', 400, 'DIGEST_INVALID'],
    ['/v2/hello/os/blobs/md5:abc', 400, 'DIGEST_INVALID'],
    ['/v2/hello/os/manifests/3.0', 404, 'MANIFEST_UNKNOWN'],
    ['/v2/hello/os/manifests/sha256:abc', 400, 'DIGEST_INVALID'],
    ['/v2/hello/os/manifests/.hidden', 404, 'MANIFEST_UNKNOWN'],
    ['/v2/other/tags/list', 404, 'NAME_UNKNOWN'],
    ['/v2/Hello/manifests/1.0', 400, 'NAME_INVALID'],
    ['/v2/a%2f..%2fb/manifests/1.0', 400, 'NAME_INVALID'],
    [`/v2/${'a/'.repeat(200)}b/manifests/1.0`, 400, 'NAME_INVALID'],
    ['/v2/hello/os', 404, 'NAME_UNKNOWN'],
    ['/v2/hello/os/tags/other', 404, 'NAME_UNKNOWN'],
    ['/v2/_catalog', 404, 'NAME_UNKNOWN'],
  ])('answers %s with %i and a registry error', async (url, status, code) => {
    const before = asked.length
    const reply = await ask(url)
    expect([reply.statusCode, reply.json().errors[0].code]).toEqual([status, code])
    expect(reply.headers['docker-distribution-api-version']).toBe('registry/2.0')
    if (status === 400) expect(asked.length).toBe(before)
    expect((await ask(url, 'HEAD')).statusCode).toBe(status)
  })

  test('does not have a blob that the store lost, and leaves other errors to the plane', async () => {
    const reply = await ask(`/v2/hello/os/blobs/${lost}`)
    expect([reply.statusCode, reply.json().errors[0].code]).toEqual([404, 'BLOB_UNKNOWN'])
    expect((await ask(`/v2/hello/os/blobs/${damaged}`)).statusCode).toBe(500)
  })

  test.each(['PUT', 'POST', 'DELETE'] as const)('takes no %s', async (method) => {
    const reply = await ask('/v2/hello/os/manifests/1.0', method)
    expect([reply.statusCode, reply.json().errors[0].code, reply.headers['allow']]).toEqual([
      405,
      'UNSUPPORTED',
      'GET, HEAD',
    ])
  })
})
