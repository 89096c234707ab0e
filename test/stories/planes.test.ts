/** What each plane shows to the outside, at the door: nothing of another plane, no name that leads out, every file as firmware reads it. */
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digestOf } from '../../src/oci/source.ts'
import { createAgentClient } from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer, type TinyImage } from '../support/server.ts'

type Answer = { status: number; headers: Record<string, string | undefined>; body: Buffer }

let data: string
let server: TestServer
let image: TinyImage
const agentKernel = Buffer.alloc(50_000, 'the kernel of the agent ')
const ownFile = Buffer.alloc(70_000, 'a file of the operator ')
const secret = 'nobody may read this'

beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-planes-'))
  const files = join(data, 'own-files')
  for (const folder of [files, join(data, 'boot/agent/amd64'), join(data, 'boot/loaders')])
    await mkdir(folder, { recursive: true })
  await writeFile(join(data, 'boot/agent/amd64/kernel'), agentKernel)
  await writeFile(join(data, 'boot/agent/amd64/initramfs'), agentKernel)
  await writeFile(join(data, 'boot/loaders/ipxe-amd64.efi'), ownFile)
  await writeFile(join(files, 'memtest.bin'), ownFile)
  await writeFile(join(files, '.hidden'), secret)
  await writeFile(join(data, 'outside'), secret)
  await symlink(join(data, 'outside'), join(files, 'link-out'))
  await symlink(join(data, 'keys'), join(files, 'keys-link'))
  server = await startServer({ data, settings: { files } })
  image = await publishTiny(server, 'edge/1.0')
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(data, { recursive: true, force: true })
})

/** The path goes out as it is: `fetch` would tidy it up. */
function ask(
  path: string,
  options: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', port: server.running.ports.firmware, path, agent: false, ...options },
      (incoming) => {
        incoming.toArray().then((chunks: Buffer[]) => {
          const headers = incoming.headers as Record<string, string | undefined>
          resolve({ status: incoming.statusCode ?? 0, headers, body: Buffer.concat(chunks) })
        }, reject)
      },
    )
    outgoing.on('error', reject)
    outgoing.end()
  })
}

describe('planes do not mix', () => {
  const adminPaths = [
    '/api/v1/machines',
    '/api/v1/status',
    '/api/v1/openapi.json',
    '/metrics',
    '/healthz',
    '/readyz',
  ]

  test('the firmware plane has none of the admin and agent URLs', async () => {
    for (const path of [...adminPaths, '/agent/v1/hello', '/agent/v1/report'])
      expect((await ask(path)).status, path).toBe(404)
    expect((await ask('/agent/v1/hello', { method: 'POST' })).status).toBe(404)
  })

  test('the agent plane has none of the admin and firmware URLs', async () => {
    using client = createAgentClient({ port: server.running.ports.agent })
    for (const path of [
      ...adminPaths,
      '/api/v1/token',
      '/boot/autoexec.ipxe',
      '/tuf/main/metadata/timestamp.json',
      '/v2/',
    ])
      expect((await client.post(path, Buffer.from('{}'))).status, path).toBe(404)
  })

  test('the admin plane tells a stranger nothing but that it is up', async () => {
    const admin = `http://127.0.0.1:${server.running.ports.admin}`
    expect((await fetch(`${admin}/healthz`)).status).toBe(200)
    for (const path of [
      '/api/v1/machines',
      '/boot/autoexec.ipxe',
      '/tuf/main/metadata/timestamp.json',
      '/files/memtest.bin',
    ])
      expect((await fetch(`${admin}${path}`)).status, path).toBe(401)
  })
})

describe('no name leads out', () => {
  const ups = [
    '..',
    '%2e%2e',
    '.%2e',
    '%2E%2E',
    '..%2f..',
    '..%5c..',
    '%252e%252e',
    '..%00',
    '....//..',
    '..;',
  ]
  const doors = [
    '/files',
    '/boot',
    '/boot/agent/amd64',
    '/tuf/main/metadata',
    '/tuf/main/targets',
    '/tuf/main/blobs/sha256',
    '/tuf',
    '/v2',
    '/v2/edge/blobs',
    '/v2/edge/manifests',
  ]
  const wanted = [
    'outside',
    'keys/main/root.pem',
    'keys%2fmain%2froot.pem',
    'keys\\main\\root.pem',
    'muster.db',
    'admin.sock',
    'etc/passwd',
  ]

  test('of a door: not by dots, not by encoded dots and slashes, not by backslash or NUL', async () => {
    const secrets = [
      secret,
      'root:x:0:0',
      'PRIVATE KEY',
      'SQLite format',
      (await readFile(join(server.data, 'keys/main/root.pem'), 'utf8')).split('\n')[1] as string,
    ]
    let asked = 0
    for (const door of doors)
      for (const up of ups)
        for (const what of wanted) {
          const path = `${door}/${up}/${up}/${up}/${what}`
          const { status, body } = await ask(path)
          asked += 1
          expect([400, 403, 404], `${path} answers ${status}`).toContain(status)
          for (const text of secrets) expect(body.includes(text), path).toBe(false)
        }
    expect(asked).toBe(ups.length * doors.length * wanted.length)
  })

  test('of the files folder: no links, no hidden files, no absolute names', async () => {
    for (const name of [
      'link-out',
      'keys-link/main/root.pem',
      '.hidden',
      '/etc/passwd',
      '%2fetc%2fpasswd',
      '',
      '.',
      'memtest.bin%00.txt',
      'memtest.bin/',
      `${'a'.repeat(300)}`,
    ]) {
      const { status, body } = await ask(`/files/${name}`)
      expect([400, 403, 404], `${name} answers ${status}`).toContain(status)
      expect(body.includes(secret)).toBe(false)
    }
    expect((await ask('/files/memtest.bin')).body.equals(ownFile)).toBe(true)
  })

  test('to keys, stamps or the database through names that look like boot files', async () => {
    for (const path of [
      '/boot/agent/amd64/made-from',
      '/boot/loaders/made-from',
      '/boot/made-from',
      '/boot/agent/riscv64/kernel',
      '/keys/main/root.pem',
      '/data/keys',
      '/muster.db',
      '/tuf/main/metadata/.lock',
      '/tuf/main/metadata/root.pem',
      '/tuf/other/metadata/timestamp.json',
    ])
      expect((await ask(path)).status, path).toBe(404)
  })

  test('a blob that is in the store but belongs to no release is not there for machines', async () => {
    const bytes = Buffer.from('uploaded, never signed')
    const hex = digestOf(bytes).slice('sha256:'.length)
    await server.api.call({
      method: 'PUT',
      path: `/blobs/sha256/${hex}`,
      headers: { 'content-length': bytes.length },
      body: bytes,
    })
    expect((await server.api.open({ method: 'HEAD', path: `/blobs/sha256/${hex}` })).statusCode).toBe(200)
    for (const path of [
      `/tuf/main/blobs/sha256/${hex}`,
      `/v2/edge/blobs/sha256:${hex}`,
      `/v2/edge/manifests/sha256:${hex}`,
    ])
      expect((await ask(path)).status, path).toBe(404)
  })
})

describe('every kind of file', () => {
  const digestPath = (digest: string) => `/tuf/main/blobs/sha256/${digest.slice('sha256:'.length)}`
  const kinds: [what: string, path: () => string, bytes: () => Promise<Buffer> | Buffer][] = [
    ['a boot loader', () => '/boot/ipxe-amd64.efi', () => ownFile],
    ["the agent's kernel", () => '/boot/agent/amd64/kernel', () => agentKernel],
    ["an operator's file", () => '/files/memtest.bin', () => ownFile],
    [
      'metadata',
      () => '/tuf/main/metadata/timestamp.json',
      () => readFile(join(server.data, 'tuf/main/metadata/timestamp.json')),
    ],
    [
      'a target',
      () => `/tuf/main/targets/edge/1.0/${release().digest.slice('sha256:'.length)}.amd64`,
      () => image.manifestBytes,
    ],
    ['a blob', () => digestPath(kernelDigest()), () => image.kernel],
    ['a blob of the registry', () => `/v2/edge/blobs/${kernelDigest()}`, () => image.kernel],
    ['a manifest of the registry', () => `/v2/edge/manifests/1.0`, () => image.manifestBytes],
  ]
  const release = () => server.running.releases.catalog().image('edge')!.releases[0]!.manifest
  const kernelDigest = () =>
    (JSON.parse(image.manifestBytes.toString()) as { layers: { digest: string }[] }).layers[0]!.digest

  for (const [what, pathOf, bytesOf] of kinds) {
    test(`${what} has the same length by GET and HEAD, pieces by Range, and a name for its version`, async () => {
      const [path, bytes] = [pathOf(), await bytesOf()]
      const whole = await ask(path)
      expect([whole.status, whole.body.equals(bytes)]).toEqual([200, true])
      const { etag = '' } = whole.headers
      expect(etag).toMatch(/^"[^"]+"$/)
      expect(whole.headers['accept-ranges']).toBe('bytes')
      expect(whole.headers['content-length']).toBe(String(bytes.length))

      const head = await ask(path, { method: 'HEAD' })
      expect([head.status, head.headers['content-length'], head.headers['etag'], head.body.length]).toEqual([
        200,
        String(bytes.length),
        etag,
        0,
      ])

      const piece = await ask(path, { headers: { range: 'bytes=10-19' } })
      expect([
        piece.status,
        piece.headers['content-range'],
        piece.body.equals(bytes.subarray(10, 20)),
      ]).toEqual([206, `bytes 10-19/${bytes.length}`, true])
      const rest = await ask(path, { headers: { range: `bytes=${bytes.length - 7}-`, 'if-range': etag } })
      expect([rest.status, rest.body.equals(bytes.subarray(-7))]).toEqual([206, true])
      const tail = await ask(path, { headers: { range: 'bytes=-5' } })
      expect([tail.status, tail.body.equals(bytes.subarray(-5))]).toEqual([206, true])
      const changed = await ask(path, { headers: { range: 'bytes=10-19', 'if-range': '"another"' } })
      expect([changed.status, changed.body.length]).toEqual([200, bytes.length])
      const behind = await ask(path, { headers: { range: `bytes=${bytes.length}-` } })
      expect([behind.status, behind.headers['content-range']]).toEqual([416, `bytes */${bytes.length}`])

      const known = await ask(path, { headers: { 'if-none-match': etag } })
      expect([known.status, known.body.length, known.headers['etag']]).toEqual([304, 0, etag])
    })
  }
})
