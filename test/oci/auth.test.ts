import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAuthorizer, parseChallenges } from '../../src/oci/auth.ts'
import { dockerCredentials } from '../../src/oci/docker-config.ts'
import { createSender } from '../../src/oci/send.ts'

const encode = (pair: string) => Buffer.from(pair).toString('base64')

describe('a WWW-Authenticate header', () => {
  const read = (header: string) =>
    parseChallenges(header).map((one) => [one.scheme, Object.fromEntries(one.parameters)])

  test('with several challenges and commas inside quotes is read', () => {
    expect(
      read('Bearer realm="https://a.example/t",service="a, b",scope=x:y:pull, Basic realm="\\"r\\""'),
    ).toEqual([
      ['bearer', { realm: 'https://a.example/t', service: 'a, b', scope: 'x' }],
      ['y', {}],
      ['pull', {}],
      ['basic', { realm: '"r"' }],
    ])
    expect(read('Negotiate, BASIC realm=x')).toEqual([
      ['negotiate', {}],
      ['basic', { realm: 'x' }],
    ])
  })

  test('of any bytes is read in time that grows with its length', () => {
    fc.assert(
      fc.property(fc.string(), (header) => {
        parseChallenges(header)
      }),
    )
    const since = performance.now()
    parseChallenges(`Bearer realm="${'\\'.repeat(100_000)}`)
    parseChallenges('a = '.repeat(100_000))
    expect(performance.now() - since).toBeLessThan(1000)
  })
})

describe('a token service', () => {
  const asked: string[] = []
  const authorizer = (authRealms?: string[]) =>
    createAuthorizer({
      sender: createSender({
        fetch: async (url) => {
          asked.push(url)
          return new Response('{"token":"T"}')
        },
      }),
      hosts: authRealms === undefined ? {} : { 'registry.example': { authRealms } },
    })
  const target = (host: string) => ({ registry: host, origin: `https://${host}`, name: 'os' })
  const answer = (host: string, realm: string, authRealms?: string[]) =>
    authorizer(authRealms)
      .answer(target(host), `Bearer realm="${realm}"`)
      .catch((error) => error.code)

  test('is believed in the domain of its registry, over https', async () => {
    expect(await answer('registry-1.docker.io', 'https://auth.docker.io/token?a=b')).toBe('Bearer T')
    expect(asked.at(-1)).toBe('https://auth.docker.io/token?a=b&scope=repository%3Aos%3Apull')
    expect(await answer('registry-1.docker.io', 'http://auth.docker.io/token')).toBe('registry-unauthorized')
    expect(await answer('registry.example', 'http://registry.example/token')).toBe('registry-unauthorized')
    expect(await answer('10.0.0.1', 'https://10.9.0.1/token')).toBe('registry-unauthorized')
  })

  test('elsewhere is believed only when the settings of the host list it', async () => {
    const before = asked.length
    expect(await answer('registry.example', 'https://sso.test/token')).toBe('registry-unauthorized')
    expect(asked.length).toBe(before)
    expect(await answer('registry.example', 'https://sso.test/token', ['sso.test'])).toBe('Bearer T')
  })
})

describe("docker's config.json", () => {
  const lookup = (config: object, registry: string) => dockerCredentials(JSON.stringify(config))(registry)

  test('gives logins by host, in every way that docker writes the host', async () => {
    const auths = {
      'https://index.docker.io/v1/': { auth: encode('hub:h:1') },
      'registry.example:5000': { auth: encode('edge:e1\0\0') },
      'https://quay.test/v2/': { username: 'q', password: '' },
    }
    expect(await lookup({ auths }, 'docker.io')).toEqual({ kind: 'basic', username: 'hub', password: 'h:1' })
    expect(await lookup({ auths }, 'registry.example:5000')).toEqual({
      kind: 'basic',
      username: 'edge',
      password: 'e1',
    })
    expect(await lookup({ auths }, 'quay.test')).toEqual({ kind: 'basic', username: 'q', password: '' })
    expect(await lookup({ auths }, 'registry.example')).toBeUndefined()
    expect(await lookup({}, 'registry.example')).toBeUndefined()
  })

  test('gives tokens', async () => {
    const auths = { a: { identitytoken: 'I', auth: encode('x:y') }, b: { registrytoken: 'R' }, c: {} }
    expect(await lookup({ auths }, 'a')).toEqual({ kind: 'identity-token', token: 'I' })
    expect(await lookup({ auths }, 'b')).toEqual({ kind: 'registry-token', token: 'R' })
    expect(await lookup({ auths }, 'c')).toBeUndefined()
  })

  test('asks credential helpers, the one of the host before the store', async () => {
    const calls: string[][] = []
    const config = JSON.stringify({ credHelpers: { 'a.example': 'cloud' }, credsStore: 'desktop' })
    const find = dockerCredentials(config, async (helper, server) => {
      calls.push([helper, server])
      return helper === 'cloud' ? { username: '<token>', secret: 'I' } : undefined
    })
    expect(await find('a.example')).toEqual({ kind: 'identity-token', token: 'I' })
    expect(await find('docker.io')).toBeUndefined()
    expect(calls).toEqual([
      ['cloud', 'a.example'],
      ['desktop', 'https://index.docker.io/v1/'],
    ])
  })

  test('runs a real helper by its name on PATH, and refuses what it cannot read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-helper-'))
    const helper = async (name: string, script: string) => {
      await writeFile(join(folder, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`)
      await chmod(join(folder, `docker-credential-${name}`), 0o755)
    }
    await helper(
      'good',
      'read -r server; test "$1" = get && printf \'{"Username":"u","Secret":"%s"}\' "$server"',
    )
    await helper('empty', 'echo "credentials not found in native keychain"; exit 1')
    await helper('broken', 'exit 3')
    await helper('html', 'echo "<html>"')
    const path = process.env['PATH']
    process.env['PATH'] = `${folder}:${path}`
    try {
      const from = (credsStore: string) => lookup({ credsStore }, 'a.example').catch((error) => error.code)
      expect(await from('good')).toEqual({ kind: 'basic', username: 'u', password: 'a.example' })
      expect(await from('empty')).toBeUndefined()
      expect(await from('broken')).toBe('registry-unauthorized')
      expect(await from('html')).toBe('registry-unauthorized')
      expect(await from('missing')).toBe('registry-unauthorized')
    } finally {
      process.env['PATH'] = path
      await rm(folder, { recursive: true })
    }
  })

  test.each(['', '{', '[]', '{"credsStore":"../../bin/sh"}', '{"auths":{"a":{"auth":1}}}'])(
    '%j is refused at once, without quoting it',
    (config) => {
      expect(() => dockerCredentials(config)).toThrow(expect.objectContaining({ code: 'config-invalid' }))
    },
  )
})
