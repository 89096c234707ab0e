import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import type { CredentialLookup } from '../../src/oci/auth.ts'
import { manifestLimits, mediaTypes } from '../../src/oci/manifest.ts'
import { createRegistryClient, type RegistryOptions } from '../../src/oci/registry.ts'
import type { ImageSource } from '../../src/oci/source.ts'
import { createTransport, type RegistryHosts, type Transport } from '../../src/oci/transport.ts'
import { digestOf, RegistrySimulator } from './registry-simulator.ts'

let registry: RegistrySimulator
let elsewhere: RegistrySimulator
let transport: Transport
let slept: number[]

beforeEach(async () => {
  registry = await RegistrySimulator.start()
  elsewhere = await RegistrySimulator.start()
  slept = []
  transport = createTransport()
})
afterEach(async () => {
  await transport[Symbol.asyncDispose]()
  await registry[Symbol.asyncDispose]()
  await elsewhere[Symbol.asyncDispose]()
})

function repository(options: Partial<RegistryOptions> = {}, name = 'os/edge'): ImageSource {
  const hosts: RegistryHosts = { [registry.host]: { plainHttp: true } }
  return createRegistryClient({
    fetch: transport.fetch,
    hosts,
    random: () => 0,
    sleep: async (ms) => {
      slept.push(ms)
    },
    ...options,
  }).repository({ registry: registry.host, name })
}

const basicLogin: CredentialLookup = async (host) =>
  host === registry.host ? { kind: 'basic', username: 'edge', password: 'pa:ss' } : undefined
const basicHeader = `Basic ${Buffer.from('edge:pa:ss').toString('base64')}`

async function read(source: ImageSource, descriptor: Parameters<ImageSource['blob']>[0], offset = 0) {
  const chunks: Uint8Array[] = []
  for await (const chunk of source.blob(descriptor, { offset })) chunks.push(chunk)
  return Buffer.concat(chunks)
}
const codeOf = (promise: Promise<unknown>) => promise.then(() => 'accepted', errorCodeOf)
const blobRequests = () => registry.seen.filter((one) => one.path.includes('/blobs/'))

const kernel = Buffer.alloc(300_000, 'kernel ')

describe('an image in a registry', () => {
  test('is resolved by tag and by digest, and its blobs are read and checked', async () => {
    const pushed = registry.publishImage('1.4', { vmlinuz: kernel })
    const source = repository()
    const resolved = await source.resolve({ tag: '1.4' }, { arch: 'amd64' })
    expect(resolved.descriptor).toEqual(pushed)
    expect(digestOf(Buffer.from(resolved.manifestBytes))).toBe(pushed.digest)
    expect((await source.resolve({ digest: pushed.digest }, { arch: 'arm64' })).descriptor).toEqual(pushed)
    expect((await read(source, resolved.manifest.layers[0]!)).equals(kernel)).toBe(true)
  })

  test('of several architectures gives the right manifest, and all of them', async () => {
    const [amd64, arm64] = [
      registry.publishImage('', { vmlinuz: 'amd64' }),
      registry.publishImage('', { Image: 'arm64' }),
    ]
    const entry = (descriptor: object, architecture: string) => ({
      ...descriptor,
      platform: { architecture, os: 'linux' },
    })
    const manifests = [entry(amd64, 'amd64'), entry(arm64, 'arm64')]
    registry.publish({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, 'multi', mediaTypes.index)
    const source = repository()
    expect((await source.resolve({ tag: 'multi' }, { arch: 'arm64' })).descriptor.digest).toBe(arm64.digest)
    const all = await source.resolveAll({ tag: 'multi' })
    expect(all.map((one) => [one.arch, one.descriptor.digest])).toEqual([
      ['amd64', amd64.digest],
      ['arm64', arm64.digest],
    ])
  })

  test('for another architecture is not taken', async () => {
    registry.publishImage('arm', { Image: 'x' }, { annotations: { 'vnd.muster.architecture': 'arm64' } })
    expect(await codeOf(repository().resolve({ tag: 'arm' }, { arch: 'amd64' }))).toBe('registry-not-found')
    expect((await repository().resolve({ tag: 'arm' }, { arch: 'arm64' })).arch).toBe('arm64')
  })

  const configured = (
    tag: string,
    config: object | string,
    extra: object = {},
    mediaType: string = mediaTypes.imageConfig,
  ) => {
    const bytes = typeof config === 'string' ? config : JSON.stringify(config)
    return registry.publishImage(
      tag,
      { Image: 'x' },
      { config: registry.publishBlob(bytes, mediaType), ...extra },
    )
  }
  const annotations = { 'vnd.muster.architecture': 'arm64' }

  test('says its architecture in the config that container tools write', async () => {
    for (const [tag, mediaType] of [
      ['oci', mediaTypes.imageConfig],
      ['docker', mediaTypes.dockerConfig],
    ] as const) {
      configured(tag, { architecture: 'arm64', os: 'linux' }, {}, mediaType)
      expect((await repository().resolveAll({ tag })).map(({ arch }) => arch)).toEqual(['arm64'])
      expect(await codeOf(repository().resolve({ tag }, { arch: 'amd64' }))).toBe('registry-not-found')
    }
    configured('both', { architecture: 'arm64', os: 'linux' }, { annotations })
    expect((await repository().resolveAll({ tag: 'both' }))[0]!.arch).toBe('arm64')
    // A config of another kind may say what it likes.
    configured('other', { architecture: 'vax' }, {}, 'application/vnd.example+json')
    expect((await repository().resolveAll({ tag: 'other' }))[0]!.arch).toBeUndefined()
  })

  test('whose config contradicts the annotation, or the index above it, is refused', async () => {
    configured('torn', { architecture: 'amd64', os: 'linux' }, { annotations })
    const error = await repository()
      .resolveAll({ tag: 'torn' })
      .catch((caught) => caught)
    expect([error.code, error.message]).toEqual([
      'manifest-invalid',
      expect.stringMatching(/arm64 by its annotation vnd\.muster\.architecture, and for amd64 by its config/),
    ])
    const amd64 = configured('', { architecture: 'amd64', os: 'linux' })
    const manifests = [{ ...amd64, platform: { architecture: 'arm64', os: 'linux' } }]
    registry.publish({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, 'mixed', mediaTypes.index)
    expect(await codeOf(repository().resolve({ tag: 'mixed' }, { arch: 'arm64' }))).toBe('manifest-invalid')
  })

  test('whose config lies about its bytes, or has megabytes of them, is not believed', async () => {
    const config = registry.publishBlob('{"architecture":"amd64"}', mediaTypes.imageConfig)
    registry.publishImage('lies', { Image: 'x' }, { config })
    registry.lie(config.digest, '{"architecture":"arm64"}')
    expect(await codeOf(repository().resolveAll({ tag: 'lies' }))).toBe('blob-digest')
    configured('huge', `{"architecture":"arm64","pad":"${'x'.repeat(manifestLimits.bytes)}"}`)
    expect(await codeOf(repository().resolveAll({ tag: 'huge' }))).toBe('manifest-too-large')
    configured('junk', 'architecture: arm64')
    expect(await codeOf(repository().resolveAll({ tag: 'junk' }))).toBe('manifest-invalid')
  })

  test('that is not there is not found, and tells what was asked for', async () => {
    const error = await repository()
      .resolve({ tag: 'none' }, { arch: 'amd64' })
      .catch((caught) => caught)
    expect([error.code, error.message]).toEqual([
      'registry-not-found',
      expect.stringContaining('the manifest none'),
    ])
  })

  test('is pulled over the global fetch as well', async () => {
    registry.publishImage('1.4', { vmlinuz: kernel })
    const source = repository({ fetch: (url, init) => fetch(url, init) })
    const { manifest } = await source.resolve({ tag: '1.4' }, { arch: 'amd64' })
    expect((await read(source, manifest.layers[0]!, 1000)).equals(kernel.subarray(1000))).toBe(true)
  })
})

describe('a registry that lies', () => {
  test('about a manifest named by digest is refused', async () => {
    const pushed = registry.publishImage('1', { vmlinuz: 'good' })
    registry.lie(pushed.digest, JSON.stringify({ schemaVersion: 2, layers: [] }))
    expect(await codeOf(repository().resolve({ digest: pushed.digest }, { arch: 'amd64' }))).toBe(
      'manifest-mismatch',
    )
  })

  test('in Docker-Content-Digest is refused', async () => {
    registry.publishImage('1', { vmlinuz: 'good' })
    registry.lieInHeader('1', `sha256:${'0'.repeat(64)}`)
    expect(await codeOf(repository().resolve({ tag: '1' }, { arch: 'amd64' }))).toBe('manifest-mismatch')
  })

  test('about the bytes of a blob is refused at its end', async () => {
    const blob = registry.publishBlob(kernel)
    registry.lie(blob.digest, Buffer.alloc(kernel.length, 'evil'))
    expect(await codeOf(read(repository(), blob))).toBe('blob-digest')
  })

  test('about the length of a blob is refused before the first byte', async () => {
    const blob = registry.publishBlob(kernel)
    registry.lie(blob.digest, Buffer.alloc(kernel.length + 1))
    expect(await codeOf(read(repository(), blob))).toBe('blob-too-long')
    registry.lie(blob.digest, Buffer.alloc(kernel.length - 1))
    expect(await codeOf(read(repository(), blob))).toBe('blob-truncated')
  })

  test('with an endless blob is left at the size that the manifest gives', async () => {
    const blob = registry.publishBlob(kernel)
    registry.endless(blob.digest)
    expect(await codeOf(read(repository(), blob))).toBe('blob-too-long')
    expect(registry.blobBytes).toBeLessThan(50 * kernel.length)
  })

  test('with a manifest of more than 4 MiB is left there', async () => {
    registry.publish(`{"schemaVersion":2,"x":"${'x'.repeat(manifestLimits.bytes)}"}`, 'big')
    expect(await codeOf(repository().resolve({ tag: 'big' }, { arch: 'amd64' }))).toBe('manifest-too-large')
  })

  test('with an index whose sizes are wrong is refused', async () => {
    const pushed = registry.publishImage('', { vmlinuz: 'good' })
    const manifests = [{ ...pushed, size: pushed.size + 1, platform: { architecture: 'amd64', os: 'linux' } }]
    registry.publish({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, 'i', mediaTypes.index)
    expect(await codeOf(repository().resolve({ tag: 'i' }, { arch: 'amd64' }))).toBe('manifest-mismatch')
  })

  test('with a Content-Type other than the document is refused', async () => {
    const layers: object[] = []
    const document = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: registry.publishBlob('{}'),
      layers,
    }
    registry.publish(document, 'odd', mediaTypes.dockerManifest)
    expect(await codeOf(repository().resolve({ tag: 'odd' }, { arch: 'amd64' }))).toBe('manifest-invalid')
  })
})

describe('a connection that breaks', () => {
  test('is taken up again by Range where it broke', async () => {
    const blob = registry.publishBlob(kernel)
    registry.drop(blob.digest, 100_000, 2)
    expect((await read(repository(), blob)).equals(kernel)).toBe(true)
    expect(blobRequests().map((one) => one.range)).toEqual([undefined, 'bytes=100000-', 'bytes=200000-'])
    expect(registry.blobBytes).toBe(kernel.length)
  })

  test('is taken up again from the start where the registry knows no Range', async () => {
    const blob = registry.publishBlob(kernel)
    registry.ignoreRange = true
    registry.drop(blob.digest, 100_000)
    expect((await read(repository(), blob)).equals(kernel)).toBe(true)
    expect((await read(repository(), blob, 299_000)).equals(kernel.subarray(299_000))).toBe(true)
  })

  test('again and again without progress is given up', async () => {
    const blob = registry.publishBlob(kernel)
    registry.drop(blob.digest, 10, 100)
    expect(await codeOf(read(repository({ limits: { failuresMax: 3 } }), blob))).toBe('blob-unavailable')
    expect(blobRequests().length).toBe(4)
  })

  test('again and again at the same place without an error is a truncated blob', async () => {
    const blob = registry.publishBlob(kernel)
    registry.truncate(blob.digest, 70_000)
    expect(await codeOf(read(repository({ limits: { failuresMax: 3 } }), blob))).toBe('blob-truncated')
  })

  test('in the middle of a manifest is no reason to give up, but not for ever', async () => {
    const pushed = registry.publishImage('1', { vmlinuz: 'x' })
    registry.drop('1', 10, 2)
    expect((await repository().resolve({ tag: '1' }, { arch: 'amd64' })).descriptor).toEqual(pushed)
    registry.drop('1', 10, 100)
    const code = await codeOf(repository().resolve({ tag: '1' }, { arch: 'amd64' }))
    expect([code, registry.seen.length]).toEqual(['registry-unavailable', 3 + 5])
  })

  test('that stays open and silent counts as broken', async () => {
    const silent: RegistryOptions['fetch'] = async (_, { signal }) => ({
      status: 200,
      headers: { get: () => null },
      body: (async function* () {
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        yield new Uint8Array()
      })(),
    })
    const source = repository({ fetch: silent, limits: { failuresMax: 1, stallTimeoutMs: 20 } })
    expect(await codeOf(read(source, registry.publishBlob(kernel)))).toBe('blob-unavailable')
  })

  test('is left at once when nobody wants the blob any more', async () => {
    const blob = registry.publishBlob(kernel)
    registry.drop(blob.digest, 10, 100)
    const abort = new AbortController()
    const reading = async () => {
      for await (const _ of repository().blob(blob, { signal: abort.signal }))
        abort.abort(new Error('enough'))
    }
    await expect(reading()).rejects.toThrow('enough')
    expect(blobRequests().length).toBe(1)
  })

  test('is refused when the registry answers a Range with other bytes', async () => {
    const blob = registry.publishBlob(kernel)
    const shifted: RegistryOptions['fetch'] = async (url, init) => {
      const reply = await transport.fetch(url, init)
      const range = (name: string) => (name === 'content-range' ? `bytes 0-9/${kernel.length}` : null)
      return { ...reply, headers: { get: (name) => range(name) ?? reply.headers.get(name) } }
    }
    expect(await codeOf(read(repository({ fetch: shifted }), blob, 5))).toBe('blob-unavailable')
  })
})

describe('a busy registry', () => {
  test('is given the time that its Retry-After asks for', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    registry.busy(2, '7')
    await repository().resolve({ tag: '1' }, { arch: 'amd64' })
    expect(slept).toEqual([7000, 7000])
  })

  test('is given a Retry-After that is a date', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    const now = Date.parse('2026-01-01T00:00:00Z')
    registry.busy(1, 'Thu, 01 Jan 2026 00:00:30 GMT', 503)
    await repository({ now: () => now }).resolve({ tag: '1' }, { arch: 'amd64' })
    expect(slept).toEqual([30_000])
  })

  test('that asks for a day is not waited for', async () => {
    registry.busy(100, '86400')
    expect(await codeOf(repository().resolve({ tag: '1' }, { arch: 'amd64' }))).toBe('registry-unavailable')
    expect(slept).toEqual([])
  })

  test('without Retry-After is asked again with growing pauses, and then left', async () => {
    registry.busy(100, 'soon', 502)
    expect(await codeOf(repository().resolve({ tag: '1' }, { arch: 'amd64' }))).toBe('registry-unavailable')
    expect(slept).toEqual([250, 500, 1000, 2000])
  })

  test('that cannot be reached is unavailable, with the reason in the sentence', async () => {
    await registry[Symbol.asyncDispose]()
    const error = await repository({ limits: { attemptsMax: 1 } })
      .resolve({ tag: '1' }, { arch: 'amd64' })
      .catch((caught) => caught)
    expect([error.code, error.message]).toEqual([
      'registry-unavailable',
      expect.stringContaining('refuses the connection'),
    ])
  })
})

describe('credentials', () => {
  test('answer a Basic challenge, and are sent with the first request afterwards', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    registry.requireLogin(() => 'Basic realm="registry"', basicHeader)
    const source = repository({ credentials: basicLogin })
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
    expect(registry.seen.map((one) => one.authorization)).toEqual([undefined, basicHeader, basicHeader])
  })

  test('that are wrong or missing are said, with the way to log in', async () => {
    registry.requireLogin(() => 'Basic realm="registry"', 'Basic other')
    for (const credentials of [basicLogin, async () => undefined]) {
      const error = await repository({ credentials })
        .resolve({ tag: '1' }, { arch: 'amd64' })
        .catch((caught) => caught)
      expect([error.code, error.message]).toEqual([
        'registry-unauthorized',
        expect.stringContaining('docker login'),
      ])
      expect(error.message).not.toContain('pa:ss')
    }
  })

  test('get a bearer token for a pull of this repository and nothing more, once', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    const realm = registry.tokenService('/token', (request) => {
      const query = new URL(request.url ?? '', 'http://x').searchParams
      expect(query.get('scope')).toBe('repository:os/edge:pull')
      expect(query.get('service')).toBe('reg, "the" one')
      expect(request.headers.authorization).toBe(basicHeader)
      return [200, { access_token: 'T1', expires_in: 300 }]
    })
    registry.requireLogin(
      () => `Bearer realm="${realm}",service="reg, \\"the\\" one",scope="repository:os/edge:pull,push"`,
      'Bearer T1',
    )
    const source = repository({ credentials: basicLogin })
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
    expect(registry.seen.filter((one) => one.path.startsWith('/token')).length).toBe(1)
  })

  test('that nobody has get a token anonymously; an expired one is fetched anew', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    let now = 0
    const realm = registry.tokenService('/token', (request) => {
      expect(request.headers.authorization).toBeUndefined()
      return [200, { token: 'T1' }]
    })
    registry.requireLogin(() => `Bearer realm="${realm}"`, 'Bearer T1')
    const source = repository({ now: () => now })
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
    now = 61_000
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
    expect(registry.seen.filter((one) => one.path.startsWith('/token')).length).toBe(2)
  })

  test('that are an identity token go to the token service by OAuth2 POST', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    const realm = registry.tokenService('/token', (request, body) => {
      expect([request.method, Object.fromEntries(new URLSearchParams(body))]).toEqual([
        'POST',
        {
          grant_type: 'refresh_token',
          client_id: 'muster',
          refresh_token: 'R&1',
          scope: 'repository:os/edge:pull',
          service: 'reg',
        },
      ])
      return [200, { access_token: 'T2' }]
    })
    registry.requireLogin(() => `Bearer realm="${realm}",service="reg"`, 'Bearer T2')
    const source = repository({ credentials: async () => ({ kind: 'identity-token', token: 'R&1' }) })
    await source.resolve({ tag: '1' }, { arch: 'amd64' })
  })

  test.each([
    ['another domain', () => 'https://tokens.attacker.example/token'],
    ['an address inside the network', () => 'http://169.254.169.254/latest'],
    ['an address with a login', () => `http://user:pw@${registry.host}/token`],
    ['a file', () => 'file:///etc/passwd'],
    ['nothing', () => ''],
  ])('are not sent to a token service at %s', async (_, realm) => {
    registry.requireLogin(() => `Bearer realm="${realm()}"`, 'never')
    const error = await repository({ credentials: basicLogin })
      .resolve({ tag: '1' }, { arch: 'amd64' })
      .catch((caught) => caught)
    expect([error.code, error.message]).toEqual([
      'registry-unauthorized',
      expect.stringContaining('nothing was sent'),
    ])
  })

  test.each([
    ['HTML', 200, '<html>'],
    ['no token', 200, {}],
    ['a token with a line break', 200, { token: 'a\r\nb' }],
    ['an error of the server', 418, {}],
  ])('that get %s from the token service are not used', async (_, status, json) => {
    const realm = registry.tokenService('/token', () => [status, json])
    registry.requireLogin(() => `Bearer realm="${realm}"`, 'never')
    expect(await codeOf(repository().resolve({ tag: '1' }, { arch: 'amd64' }))).toMatch(
      status === 418 ? /^registry-unauthorized$/ : /^registry-invalid$/,
    )
  })

  test('are not sent along to another origin that blobs are redirected to', async () => {
    const blob = registry.publishBlob(kernel)
    elsewhere.publishBlob(kernel)
    registry.requireLogin(() => 'Basic realm="registry"', basicHeader)
    registry.blobsAt = `http://${elsewhere.host}`
    const source = repository({ credentials: basicLogin })
    expect((await read(source, blob)).equals(kernel)).toBe(true)
    expect((await read(source, blob, 1000)).equals(kernel.subarray(1000))).toBe(true)
    expect(elsewhere.seen.map((one) => [one.authorization, one.range])).toEqual([
      [undefined, undefined],
      [undefined, 'bytes=1000-'],
    ])
  })

  test('are not sent when the place of a redirect asks for them', async () => {
    const blob = registry.publishBlob(kernel)
    registry.requireLogin(() => 'Basic realm="registry"', basicHeader)
    elsewhere.requireLogin(() => 'Basic realm="registry"', basicHeader)
    registry.blobsAt = `http://${elsewhere.host}`
    expect(await codeOf(read(repository({ credentials: basicLogin }), blob))).toBe('registry-unauthorized')
    expect(elsewhere.seen.map((one) => one.authorization)).toEqual([undefined])
  })

  test('are not turned into a token because the place of a redirect says so', async () => {
    const blob = registry.publishBlob(kernel)
    const realm = registry.tokenService('/token', () => [200, { token: 'T' }])
    elsewhere.requireLogin(() => `Bearer realm="${realm}"`, 'Bearer T')
    registry.blobsAt = `http://${elsewhere.host}`
    expect(await codeOf(read(repository({ credentials: basicLogin }), blob))).toBe('registry-unauthorized')
    expect(registry.seen.filter((one) => one.path.startsWith('/token'))).toEqual([])
  })

  test('follow no redirect without end, and the address is not repeated with its signature', async () => {
    const blob = registry.publishBlob(kernel)
    registry.blobsAt = `http://${registry.host}`
    const error = await read(repository(), blob).catch((caught) => caught)
    expect(error.code).toBe('registry-invalid')
    expect(error.message).not.toContain('signature')
  })
})

describe('how a registry is reached', () => {
  const pulled = (options: Partial<RegistryOptions>) =>
    repository(options)
      .resolve({ tag: '1' }, { arch: 'amd64' })
      .catch((caught) => caught)

  test('plain HTTP is spoken only where it is configured; the first try says so, and how it is allowed', async () => {
    const error = await pulled({ hosts: {} })
    expect(error.code).toBe('registry-unavailable')
    expect(slept).toEqual([])
    const json = `{"${registry.host}":{"plainHttp":true}}`
    expect(error.message).toContain(`${registry.host} speaks plain HTTP`)
    expect(error.message).toContain(`registry: {hosts: {"${registry.host}": {plainHttp: true}}}`)
    expect(error.message).toContain(`--set 'registry.hosts=${json}'`)
    expect(error.message).toContain(`MUSTER_REGISTRY_HOSTS='${json}'`)
    expect(error.message).not.toMatch(/SSL|EPROTO/)
  })

  /** As Node 26 makes them; whether a name resolves is not for a test to ask of this machine. */
  const refusing = (code: string) => {
    let calls = 0
    const fetch: RegistryOptions['fetch'] = async () => {
      calls++
      throw Object.assign(new Error(`what Node says of ${code}`), { code })
    }
    return { fetch, calls: () => calls }
  }

  test.each([
    ['ENOTFOUND', 'does not resolve', 1],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'ca: /path/to/ca.pem', 1],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', '"ca":"/path/to/ca.pem"', 1],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'for another name', 1],
    ['CERT_HAS_EXPIRED', 'has expired', 1],
    ['EAI_AGAIN', 'no DNS server answers', 5],
    ['ECONNRESET', 'did not answer in 5 tries', 5],
  ])('%s is said as "%s" after %i tries', async (code, words, tries) => {
    const network = refusing(code)
    const error = await pulled({ fetch: network.fetch })
    expect([error.code, error.message]).toEqual(['registry-unavailable', expect.stringContaining(words)])
    expect(network.calls()).toBe(tries)
  })

  test('a refused connection is tried again, because registries start anew, and then said in plain words', async () => {
    const { host } = registry
    await registry[Symbol.asyncDispose]()
    const error = await pulled({})
    expect(slept).toHaveLength(4)
    expect(error.message).toContain(`${host} refuses the connection at ${host}: nothing listens there`)
    registry = await RegistrySimulator.start()
  })

  test('plain HTTP with a certificate authority is a contradiction', () => {
    const hosts = { 'registry.example': { plainHttp: true, ca: 'PEM' } }
    expect(() => createRegistryClient({ fetch: transport.fetch, hosts })).toThrow(
      expect.objectContaining({ code: 'registry-invalid' }),
    )
  })

  test('through the proxy that the environment names, except for hosts that NO_PROXY names', async () => {
    registry.publishImage('1', { vmlinuz: 'x' })
    const viaProxy = createTransport({ proxy: { HTTP_PROXY: `http://${elsewhere.host}` } })
    expect(await codeOf(repository({ fetch: viaProxy.fetch }).resolve({ tag: '1' }, { arch: 'amd64' }))).toBe(
      'registry-not-found',
    )
    expect(elsewhere.seen.map((one) => one.path)).toEqual([`http://${registry.host}/v2/os/edge/manifests/1`])
    const direct = createTransport({
      proxy: { HTTP_PROXY: `http://${elsewhere.host}`, NO_PROXY: '127.0.0.1' },
    })
    await repository({ fetch: direct.fetch }).resolve({ tag: '1' }, { arch: 'amd64' })
    await viaProxy[Symbol.asyncDispose]()
    await direct[Symbol.asyncDispose]()
  })
})
