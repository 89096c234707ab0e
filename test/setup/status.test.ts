import { describe, expect, test } from 'vitest'
import { repositoriesText } from '../../src/cli/status.ts'
import { loadConfig } from '../../src/config/load.ts'
import { MusterError } from '../../src/errors.ts'
import { pathsOf } from '../../src/setup/paths.ts'
import { type StatusFacts, statusDeciders } from '../../src/setup/status.ts'

const { config } = loadConfig({ env: {}, flags: { data: '/nonexistent' } })
const trusted = {
  versions: { root: 1, targets: 1, snapshot: 1, timestamp: 1 },
  expires: {
    root: '2027-01-01T00:00:00Z',
    targets: '2026-07-01T00:00:00Z',
    snapshot: '2026-01-08T00:00:00Z',
    timestamp: '2026-01-02T00:00:00Z',
  },
}

type Releases = Pick<
  StatusFacts['releases'],
  'expired' | 'catalog' | 'repository' | 'planSigner' | 'syncFailure'
>

type Options = {
  releases?: Partial<Releases>
  missing?: ReturnType<StatusFacts['missing']>
  config?: typeof config
  tftp?: number
  count?: () => Promise<Record<string, number>>
}

function server(options: Options) {
  const releases = {
    repository: 'main',
    catalog: () => ({ trusted }),
    expired: () => undefined,
    planSigner: () => ({}),
    syncFailure: () => undefined,
    ...options.releases,
  }
  return statusDeciders({
    version: '0.0.0',
    startedAt: new Date(0),
    config: options.config ?? config,
    paths: pathsOf(config),
    tls: { pin: 'sha256//x' },
    ports: { firmware: 8080, agent: 8443, admin: 9443, tftp: options.tftp ?? 69 },
    machines: { count: options.count ?? (async () => ({})) },
    releases,
    missing: () => options.missing ?? [],
    unknown: { list: () => [] },
  } as unknown as StatusFacts)
}

async function lackingOf(options: Options): Promise<[boolean, string[]]> {
  const one = server(options)
  const { missing, ready } = await one.status()
  expect(await one.ready()).toBe(ready)
  return [ready, missing.map(({ code }) => code)]
}

describe('ready means that machines can boot', () => {
  test('with everything there and metadata in force', async () => {
    expect(await lackingOf({})).toEqual([true, []])
  })
  test('not while something that the start should have made is missing', async () => {
    const missing = [
      { what: 'the boot agent', code: 'download-failed', reason: 'No mirror answered.' } as const,
    ]
    expect(await lackingOf({ missing })).toEqual([false, ['download-failed']])
  })
  test('not with metadata that has expired', async () => {
    const expired = () => new MusterError('metadata-expired', 'timestamp.json expired.')
    expect(await lackingOf({ releases: { expired } })).toEqual([false, ['metadata-expired']])
  })
  test('not before a follower has anything from upstream', async () => {
    const catalog = () => {
      throw new MusterError('repository-not-found', 'Nothing has come from upstream yet.')
    }
    expect(await lackingOf({ releases: { catalog } })).toEqual([false, ['repository-not-found']])
  })
  test('not on a follower that has no plan key, or one that upstream does not name: with the way out', async () => {
    const follower = loadConfig({
      env: {},
      flags: {
        'releases.upstream.url': 'https://first.example/tuf/main',
        'releases.upstream.root': 'root.json',
      },
    }).config
    for (const code of ['key-not-found', 'key-invalid'] as const) {
      const planSigner = () => {
        throw new MusterError(code, 'plan.pem is not what it should be.')
      }
      const options = { config: follower, releases: { planSigner } } as Options
      expect(await lackingOf(options)).toEqual([false, [code]])
      const [lack] = (await server(options).status()).missing
      expect(lack?.reason).toMatch(
        /no machine boots.*Copy .*\/nonexistent\/keys\/main\/plan\.pem.*followers\.md/,
      )
    }
  })
  test('and metadata that is still good after a sync that failed, whose reason stands beside it', async () => {
    const failure = {
      at: '2026-01-01T00:00:00.000Z',
      code: 'metadata-unavailable',
      reason: 'No answer.',
    } as const
    const status = await server({ releases: { syncFailure: () => failure } }).status()
    expect([status.ready, status.repositories[0]?.syncFailure]).toEqual([true, failure])
    const text = repositoriesText(
      [{ ...status.repositories[0]!, upstream: 'http://up.example/tuf/main' }],
      Date.parse(failure.at),
    )
    expect(text).toMatch(/\nlast sync failed .*\(metadata-unavailable\)\. No answer\.\n/)
  })
  test('not while the database does not answer', async () => {
    const count = async () => {
      throw new MusterError('database-failed', 'disk I/O error')
    }
    expect(await lackingOf({ count })).toEqual([false, ['database-failed']])
  })
})

describe('the addresses of the planes', () => {
  const planesOf = async (flags: Record<string, string>, tftp = 69) => {
    const given = loadConfig({ env: {}, flags: { data: '/nonexistent', ...flags } }).config
    const { planes } = await server({ config: given, tftp }).status()
    return Object.fromEntries(planes.map(({ name, url, note }) => [name, [url, note]]))
  }
  test('can be opened, also where a plane listens on all', async () => {
    const planes = await planesOf({ advertise: 'boot.example' })
    expect(planes['firmware']).toEqual(['http://boot.example:8080', 'listens on every address (0.0.0.0)'])
    for (const [url] of Object.values(await planesOf({ 'firmware.host': '::', 'tftp.host': '::' })))
      expect(url).not.toMatch(/0\.0\.0\.0|\[?::\]?:\d/)
  })
  test('are those of the settings where a plane listens on one, in brackets where it is IPv6', async () => {
    const planes = await planesOf({
      'firmware.host': '2001:db8::7',
      'tftp.host': '192.0.2.7',
      advertise: 'x',
    })
    expect(planes['firmware']).toEqual(['http://[2001:db8::7]:8080', undefined])
    expect(planes['tftp']).toEqual(['tftp://192.0.2.7:69', undefined])
  })
  test('of TFTP say whether port 69 was not permitted or not wanted', async () => {
    const host = { 'tftp.host': '192.0.2.7' }
    expect((await planesOf(host, 6969))['tftp']?.[1]).toContain('port 69 was not permitted')
    expect((await planesOf({ ...host, 'tftp.port': '1069' }, 1069))['tftp']?.[1]).toBe(
      'PXE ROMs ask port 69 only (tftp.port)',
    )
  })
})
