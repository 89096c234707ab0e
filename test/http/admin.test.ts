import { createHash } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApiClient } from '../../src/cli/api-client.ts'
import { listenOnSocket } from '../../src/http/admin-socket.ts'
import { aBoot, aMachine, createWorld, type World } from './admin-world.ts'

let world: World
beforeEach(async () => {
  world = await createWorld()
})
afterEach(() => world[Symbol.asyncDispose]())

const get = (path: string, headers: Record<string, string> = {}) => fetch(`${world.url}${path}`, { headers })
const authorized = () => ({ authorization: `Bearer ${world.token}` })
const socketClient = () => createApiClient({ kind: 'socket', path: world.socketPath })

describe('who gets in', () => {
  test('without the token a request learns nothing, not even which URLs exist', async () => {
    for (const path of ['/api/v1/machines', '/api/v1/openapi.json', '/nothing']) {
      const answer = await get(path)
      expect(answer.status, path).toBe(401)
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/)
      expect(await answer.json()).toMatchObject({ code: 'unauthorized', status: 401 })
    }
  })
  test('a wrong token is refused, the right one opens every door', async () => {
    expect((await get('/api/v1/machines', { authorization: 'Bearer muster_wrong' })).status).toBe(401)
    expect((await get('/api/v1/machines', { authorization: `Basic ${world.token}` })).status).toBe(401)
    expect((await get('/api/v1/machines', authorized())).status).toBe(200)
    expect((await get('/nothing', authorized())).status).toBe(404)
  })
  test('health needs no token, and readiness says 503 while something is missing', async () => {
    expect(await (await get('/healthz')).json()).toEqual({ status: 'ok' })
    expect((await get('/readyz')).status).toBe(200)
    world.status.ready = false
    expect((await get('/readyz')).status).toBe(503)
  })
  test('a web page whose name was made to lead here reads no metrics', async () => {
    const port = new URL(world.url).port
    const asks = (host: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        request(`${world.url}/metrics`, { headers: { host } }, (answer) => {
          answer.resume()
          resolve(answer.statusCode)
        })
          .once('error', reject)
          .end()
      })
    for (const host of ['127.0.0.1', `127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`])
      expect(await asks(host), host).toBe(200)
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      'localhost.evil.example',
      '127.0.0.1.evil.example',
    ])
      expect(await asks(host), host).toBe(401)
  })
  test('the socket needs no token, and only its owner may open it', async () => {
    expect(await socketClient().call({ method: 'GET', path: '/machines' })).toEqual({ items: [] })
    expect((await stat(world.socketPath)).mode & 0o777).toBe(0o600)
  })
  test('a new token ends the old one at once', async () => {
    const { token } = await socketClient().call<{ token: string }>({ method: 'POST', path: '/token' })
    expect((await get('/api/v1/machines', authorized())).status).toBe(401)
    expect((await get('/api/v1/machines', { authorization: `Bearer ${token}` })).status).toBe(200)
  })
})

describe('the socket', () => {
  test('of a server that was killed is replaced, one that answers is left alone', async () => {
    const stale = join(world.data, 'stale.sock')
    await writeFile(stale, '')
    const server = createServer()
    const { remove } = await listenOnSocket(server, stale)
    await new Promise<void>((resolve, reject) => connect(stale, resolve).once('error', reject))
    await expect(listenOnSocket(createServer(), stale)).rejects.toMatchObject({ code: 'listen-failed' })
    await remove()
    server.close()
  })
  test('works in a folder whose name is longer than the kernel takes for a socket', async () => {
    await using deep = await createWorld({ folder: join('d'.repeat(100), 'e'.repeat(100)) })
    const client = createApiClient({ kind: 'socket', path: deep.socketPath })
    expect(await client.call({ method: 'GET', path: '/machines' })).toEqual({ items: [] })
  })
})

describe('machines', () => {
  test('are listed page by page, each exactly once', async () => {
    for (let index = 0; index < 7; index++) {
      const machine = aMachine(`m-${'abcdefg'[index]}aaaaaaaaaaaaaaa`)
      world.machines.set(machine.id, machine)
    }
    const seen: string[] = []
    let next: string | undefined
    do {
      const page = await socketClient().call<{ items: { id: string }[]; next?: string }>({
        method: 'GET',
        path: '/machines',
        query: { limit: 3, cursor: next },
      })
      expect(page.items.length).toBeLessThanOrEqual(3)
      seen.push(...page.items.map((one) => one.id))
      next = page.next
    } while (next !== undefined)
    expect(seen).toEqual([...world.machines.keys()].sort())
  })
  test('are approved by id, name or MAC, and who decided is recorded', async () => {
    world.machines.set('m-a', aMachine('m-a', { name: 'rack-1' }))
    for (const name of ['m-a', 'rack-1', '52:54:00:12:34:56']) {
      const machine = await socketClient().call({
        method: 'POST',
        path: `/machines/${encodeURIComponent(name)}/approve`,
      })
      expect(machine).toMatchObject({ enrolment: 'approved', decidedBy: 'operator (local socket)' })
    }
  })
  test('are approved with the MAC addresses that a person saw, or not at all', async () => {
    const { macs } = aMachine('m-a')
    world.machines.set('m-a', aMachine('m-a'))
    const approve = (body: unknown) =>
      socketClient().call({ method: 'POST', path: '/machines/m-a/approve', body })
    await expect(approve({ macs: ['52:54:00:ff:ff:ff'] })).rejects.toMatchObject({ code: 'machine-changed' })
    await expect(approve({ macs, serial: 'of another' })).rejects.toMatchObject({ code: 'machine-changed' })
    await expect(approve({ cereal: 'x' })).rejects.toMatchObject({ code: 'request-invalid' })
    await expect(approve({ macs: 'all' })).rejects.toMatchObject({ code: 'request-invalid' })
    expect(await approve({ macs })).toMatchObject({ enrolment: 'approved' })
  })
  test('are forgotten by their whole name only, because a beginning may mean the next one', async () => {
    world.machines.set('m-a', aMachine('m-a', { name: 'rack-10' }))
    const forget = (name: string) => socketClient().call({ method: 'POST', path: `/machines/${name}/forget` })
    await expect(forget('rack-1')).rejects.toMatchObject({ code: 'machine-ambiguous' })
    await forget('52-54-00-12-34-56')
    expect(world.machines.size).toBe(0)
  })
  test('that nobody knows are a 404 with the code', async () => {
    const answer = await get('/api/v1/machines/m-none', authorized())
    expect(answer.status).toBe(404)
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
    expect(await answer.json()).toMatchObject({
      code: 'machine-not-found',
      type: 'urn:muster:error:machine-not-found',
    })
  })
  test('take labels, and lose those that are set to null', async () => {
    world.machines.set('m-a', aMachine('m-a', { labels: { rack: '1', role: 'edge' } }))
    const patched = await socketClient().call({
      method: 'PATCH',
      path: '/machines/m-a',
      body: { labels: { role: null, site: 'plant' } },
    })
    expect(patched).toMatchObject({ labels: { rack: '1', site: 'plant' } })
  })
  test('say the rule of names and values of labels to whoever breaks it', async () => {
    world.machines.set('m-a', aMachine('m-a'))
    const label = (labels: object) =>
      socketClient().call({ method: 'PATCH', path: '/machines/m-a', body: { labels } })
    await expect(label({ 'bad key': '7' })).rejects.toMatchObject({
      code: 'request-invalid',
      message:
        "labels.bad key: a label's name has at most 63 letters, digits and . _ / -, the first and the last a letter or digit.",
    })
    await expect(label({ note: 'x'.repeat(257) })).rejects.toThrow(
      "a label's value has at most 256 characters",
    )
    await expect(label({ note: 7 })).rejects.toThrow('labels.note: expected text, found a number')
  })
  test('refuse a change that says nothing, or something unknown', async () => {
    world.machines.set('m-a', aMachine('m-a'))
    for (const body of [{}, { enrolment: 'approved' }, { labels: { 'bad name': 'x' } }]) {
      await expect(
        socketClient().call({ method: 'PATCH', path: '/machines/m-a', body }),
      ).rejects.toMatchObject({ code: 'request-invalid' })
    }
  })
})

describe('events', () => {
  test('arrive while they happen, first those that were missed', async () => {
    world.happens({ message: 'before' })
    world.happens({ message: 'missed' })
    const end = new AbortController()
    const lines = socketClient().lines({
      method: 'GET',
      path: '/events/watch',
      query: { after: 1 },
      signal: end.signal,
    })
    expect((await lines.next()).value).toMatchObject({ id: 2, message: 'missed' })
    const next = lines.next()
    world.happens({ message: 'live' })
    expect((await next).value).toMatchObject({ id: 3, message: 'live' })
    end.abort()
    expect((await lines.next()).done).toBe(true)
    await expect.poll(() => world.watchers()).toBe(0)
  })
  test('of another machine are not shown to a watcher of one', async () => {
    world.machines.set('m-a', aMachine('m-a', { name: 'rack-1' }))
    const end = new AbortController()
    const lines = socketClient().lines({
      method: 'GET',
      path: '/events/watch',
      query: { machine: 'rack-1' },
      signal: end.signal,
    })
    const next = lines.next()
    await expect.poll(() => world.watchers()).toBe(1)
    world.happens({ machineId: 'm-b', message: 'other' })
    world.happens({ machineId: 'm-a', message: 'own' })
    expect((await next).value).toMatchObject({ message: 'own' })
    end.abort()
  })
  test('of progress are shown live though nobody keeps them', async () => {
    const end = new AbortController()
    const lines = socketClient().lines({ method: 'GET', path: '/events/watch', signal: end.signal })
    const next = lines.next()
    await expect.poll(() => world.watchers()).toBe(1)
    const progress = { id: 0, kind: 'step', message: 'blobs progress', data: { bytes: 3, totalBytes: 4 } }
    world.happens(progress)
    expect((await next).value).toMatchObject(progress)
    end.abort()
  })
  test('are server-sent events for a browser, which goes on where it was', async () => {
    for (const message of ['one', 'two']) world.happens({ message })
    const end = new AbortController()
    const answer = await fetch(`${world.url}/api/v1/events/watch`, {
      headers: { ...authorized(), accept: 'text/event-stream', 'last-event-id': '1' },
      signal: end.signal,
    })
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    let text = ''
    for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      if (text.includes('two')) break
    }
    end.abort()
    expect(text).toMatch(/^:\n\nid: 2\ndata: \{.*"message":"two".*\}\n\n$/)
  })
  test('end when the server stops: no watcher keeps it alive', async () => {
    await using other = await createWorld()
    const lines = createApiClient({ kind: 'socket', path: other.socketPath }).lines({
      method: 'GET',
      path: '/events/watch',
    })
    const next = lines.next().then(
      (result) => result.done,
      (error) => error.code,
    )
    await expect.poll(() => other.watchers()).toBe(1)
    await other.plane[Symbol.asyncDispose]()
    expect([true, 'server-unreachable']).toContain(await next)
  })
})

describe('uploads', () => {
  const bytes = Buffer.from('a kernel, nearly')
  const hex = createHash('sha256').update(bytes).digest('hex')
  const digest = `sha256:${hex}`
  const put = (body: Buffer, headers: Record<string, string> = {}) =>
    fetch(`${world.url}/api/v1/blobs/sha256/${hex}`, {
      method: 'PUT',
      body: new Uint8Array(body),
      headers: { ...authorized(), 'content-type': 'application/octet-stream', ...headers },
    })
  const head = () =>
    fetch(`${world.url}/api/v1/blobs/sha256/${hex}`, { method: 'HEAD', headers: authorized() })

  test('are stored under their digest; twice is no error', async () => {
    expect((await put(bytes)).status).toBe(201)
    expect(world.blobs.get(digest)).toEqual(bytes)
    expect((await put(bytes)).status).toBe(204)
    const answer = await head()
    expect([answer.status, answer.headers.get('content-length')]).toEqual([200, String(bytes.length)])
  })
  test('go on where they stopped', async () => {
    world.partials.set(digest, bytes.subarray(0, 5))
    const before = await head()
    expect([before.status, before.headers.get('upload-offset')]).toEqual([202, '5'])
    const range = `bytes 5-${bytes.length - 1}/${bytes.length}`
    expect((await put(bytes.subarray(5), { 'content-range': range })).status).toBe(201)
    expect(world.blobs.get(digest)).toEqual(bytes)
  })
  test('with other bytes than the digest says are refused', async () => {
    expect(await (await put(Buffer.from('another kernel!!'))).json()).toMatchObject({ code: 'blob-digest' })
  })
  test('that leave a gap or contradict themselves are refused', async () => {
    for (const range of ['bytes 9-15/16', 'bytes 0-3/16', 'bytes */16', 'bytes 15-9/16']) {
      expect(await (await put(bytes.subarray(9), { 'content-range': range })).json(), range).toMatchObject({
        code: 'request-invalid',
      })
    }
  })
  test('need the token before the first byte is read', async () => {
    expect((await put(bytes, { authorization: 'Bearer no' })).status).toBe(401)
    expect(world.partials.size + world.blobs.size).toBe(0)
  })
})

describe('releases', () => {
  test('targets travel as the bytes that were signed, both ways', async () => {
    const answer = await get('/api/v1/repositories/main/metadata/1.targets.json', authorized())
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(world.targets.bytes)
    const posted = Buffer.from('{"signed": {"version": 2},   "signatures":[]}')
    expect(
      await socketClient().call({ method: 'POST', path: '/repositories/main/targets', body: posted }),
    ).toEqual({ version: 2 })
    expect(world.targets.posted).toEqual([posted])
  })
  test('a targets.json beyond its limit is not read', async () => {
    const body = Buffer.alloc(5_000_001)
    await expect(
      socketClient().call({ method: 'POST', path: '/repositories/main/targets', body }),
    ).rejects.toMatchObject({ code: 'metadata-too-large' })
    expect(world.targets.posted).toEqual([])
  })
  test('a pull tells its progress line by line', async () => {
    world.pulls = [
      { kind: 'progress', doneBytes: 1, totalBytes: 2, fetchedBytes: 1 },
      { kind: 'done', manifests: [] },
    ]
    const lines = await Array.fromAsync(
      socketClient().lines({
        method: 'POST',
        path: '/images/pull',
        body: { reference: 'localhost:5000/os:1' },
      }),
    )
    expect(lines).toEqual(world.pulls)
  })
})

describe('profiles and clusters', () => {
  test('putting the same twice gives the same', async () => {
    const put = () => socketClient().call({ method: 'PUT', path: '/profiles/all', body: { image: 'hello' } })
    expect(await put()).toEqual(await put())
  })
  test('a profile that does not hold is refused with its code', async () => {
    await expect(
      socketClient().call({ method: 'PUT', path: '/profiles/all', body: { mode: 'install' } }),
    ).rejects.toMatchObject({ code: 'profile-invalid' })
  })
  test('removing twice is no error', async () => {
    for (let round = 0; round < 2; round++)
      await socketClient().call({ method: 'DELETE', path: '/clusters/none' })
  })
})

describe('what describes itself', () => {
  test('the OpenAPI document names every route and the way to the token', async () => {
    const document = await socketClient().call<{
      openapi: string
      paths: Record<string, unknown>
      security: unknown
    }>({ method: 'GET', path: '/openapi.json' })
    expect(document.openapi).toBe('3.1.0')
    expect(document.security).toEqual([{ token: [] }])
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining([
        '/healthz',
        '/api/v1/machines/{machine}/approve',
        '/api/v1/events/watch',
        '/api/v1/blobs/sha256/{hex}',
      ]),
    )
    expect(JSON.stringify(document.paths['/api/v1/machines'])).toContain('enrolment')
  })
  test('metrics count by route pattern, so strangers cannot make new series', async () => {
    for (const name of ['a', 'b', 'c']) await get(`/api/v1/machines/${name}`, authorized())
    await get('/random/one', authorized())
    const text = await (await get('/metrics')).text()
    expect(text).toContain(
      'muster_http_requests_total{plane="admin",route="/api/v1/machines/:machine",status="4xx"} 3',
    )
    expect(text).toContain('route="none",status="4xx"} 1')
    expect(text).toContain('muster_machines{enrolment="discovered"} 1')
    expect(text).toMatch(/muster_metadata_expires_seconds\{repository="main",role="timestamp"\} -?\d+/)
    expect(text).not.toContain('/random/one')
  })
  test('a boot keeps the console it left', async () => {
    expect(await socketClient().call({ method: 'GET', path: `/boots/${aBoot.id}` })).toEqual(aBoot)
  })
  test('what a route does not name never leaves, whatever the record holds', async () => {
    world.machines.set('m-a', { ...aMachine('m-a'), secret: 'hidden' } as never)
    expect(JSON.stringify(await socketClient().call({ method: 'GET', path: '/machines/m-a' }))).not.toContain(
      'hidden',
    )
  })
})
