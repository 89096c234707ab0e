import { describe, expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { fileNameOf } from '../../src/tuf/updater.ts'
import { newSigner, now, sha256Of, World } from './world.ts'

const code = (name: string) => expect.objectContaining({ code: name })
const inDays = (days: number) => new Date(now.getTime() + days * 86_400_000)

describe('a refresh', () => {
  test('asks for the next root, then timestamp, snapshot and targets, and keeps them as received', async () => {
    const world = new World()
    const repository = await world.refresh()
    expect(world.requests).toEqual(['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json'])
    expect([...world.kept.keys()].sort()).toEqual(['snapshot.json', 'targets.json', 'timestamp.json'])
    expect(world.kept.get('targets.json')).toEqual(world.served.get('1.targets.json'))
    expect(repository.versions).toEqual({ root: 1, timestamp: 1, snapshot: 1, targets: 1 })
    expect(repository.timestampVersion).toBe(1)
    expect(repository.expires.timestamp).toBe('2027-03-01T12:00:00Z')
  })

  test('fetches nothing but the next root and timestamp when nothing changed', async () => {
    const world = new World()
    await world.refresh()
    world.requests.length = 0
    await world.refresh()
    expect(world.requests).toEqual(['2.root.json', 'timestamp.json'])
  })

  test('follows roots one by one, keeps each, and goes on from the trusted one without the network', async () => {
    const world = new World()
    for (let rotation = 0; rotation < 3; rotation++) {
      const before = world.roles['root']!.signers
      world.roles['root']!.signers = [newSigner()]
      world.publishRoot([...before, ...world.roles['root']!.signers])
    }
    expect((await world.refresh()).versions.root).toBe(4)
    expect([...world.kept.keys()]).toContain('3.root.json')
    expect(world.kept.get('root.json')).toEqual(world.served.get('4.root.json'))
    world.requests.length = 0
    expect((await world.refresh()).versions.root).toBe(4)
    expect(world.requests[0]).toBe('5.root.json')
  })

  test('does not believe roots on its disk: a wrong one is fetched again', async () => {
    const world = new World()
    world.publishRoot()
    world.kept.set('2.root.json', Buffer.from('{"signed":'))
    expect((await world.refresh()).versions.root).toBe(2)
    expect(world.kept.get('2.root.json')).toEqual(world.served.get('2.root.json'))
  })

  test('recovers from a torn file on its disk', async () => {
    const world = new World()
    await world.refresh()
    for (const name of ['timestamp.json', 'snapshot.json', 'targets.json']) {
      world.kept.set(name, world.kept.get(name)!.subarray(0, 40))
    }
    expect((await world.refresh()).versions.targets).toBe(1)
    expect(world.kept.get('targets.json')).toEqual(world.served.get('1.targets.json'))
  })
})

describe('root.json is refused', () => {
  test('when its predecessor’s keys did not sign it', async () => {
    const world = new World()
    world.roles['root']!.signers = [newSigner()]
    world.publishRoot()
    await expect(world.refresh()).rejects.toThrow(code('metadata-signature'))
    expect(world.kept.has('root.json')).toBe(false)
  })

  test('when its own keys did not sign it', async () => {
    const world = new World()
    const before = world.roles['root']!.signers
    world.roles['root']!.signers = [newSigner()]
    world.publishRoot(before)
    await expect(world.refresh()).rejects.toThrow(code('metadata-signature'))
  })

  test('when an old one comes as the next', async () => {
    const world = new World()
    world.served.set('2.root.json', world.trustedRoot)
    await expect(world.refresh()).rejects.toThrow(code('metadata-rollback'))
  })

  test('when a version is skipped', async () => {
    const world = new World()
    world.roles['root']!.version = 2
    world.publishRoot()
    world.served.set('2.root.json', world.served.get('3.root.json')!)
    await expect(world.refresh()).rejects.toThrow(code('metadata-mismatch'))
  })

  test('when the last one has expired; one in between may have', async () => {
    const world = new World()
    world.signed('root').expires = '2026-02-01T00:00:00Z'
    world.publishRoot()
    await expect(world.refresh()).rejects.toThrow(code('metadata-expired'))
    world.signed('root').expires = '2027-02-01T00:00:00Z'
    world.publishRoot()
    expect((await world.refresh()).versions.root).toBe(3)
  })

  test('when the trusted one is not a root at all', async () => {
    const world = new World()
    const notRoot = world.served.get('timestamp.json')!
    await expect(world.refresh({ trustedRoot: notRoot })).rejects.toThrow(code('metadata-invalid'))
  })

  test('when there are more new ones than the limit', async () => {
    const world = new World()
    for (let version = 0; version < 4; version++) world.publishRoot()
    await expect(world.refresh({ limits: { rootRotations: 2 } })).rejects.toThrow(code('metadata-too-large'))
    expect((await world.refresh({ limits: { rootRotations: 2 } })).versions.root).toBe(5)
  })

  test('when a wrong root is the trusted one, nothing it did not sign is believed', async () => {
    const [world, other] = [new World(), new World()]
    await expect(world.refresh({ trustedRoot: other.trustedRoot })).rejects.toThrow(
      code('metadata-signature'),
    )
  })
})

describe('timestamp.json is refused', () => {
  test('when it is older than the one before, although it was valid once', async () => {
    const world = new World()
    const old = world.served.get('timestamp.json')!
    world.publish()
    await world.refresh()
    world.served.set('timestamp.json', old)
    await expect(world.refresh()).rejects.toThrow(code('metadata-rollback'))
    expect(world.kept.get('timestamp.json')).not.toEqual(old)
  })

  test('when it names an older snapshot than the one before', async () => {
    const world = new World()
    world.publish()
    await world.refresh()
    world.signed('timestamp').meta['snapshot.json'].version = 1
    world.sign('timestamp')
    await expect(world.refresh()).rejects.toThrow(code('metadata-rollback'))
  })

  test('when it has expired, and not before', async () => {
    const world = new World()
    world.signed('timestamp').expires = '2026-03-02T12:00:00Z'
    world.sign('timestamp')
    await world.refresh({ now: new Date('2026-03-02T11:59:59Z') })
    await expect(world.refresh({ now: inDays(1) })).rejects.toThrow(code('metadata-expired'))
  })

  test('when a byte of it was changed', async () => {
    const world = new World()
    world.tamper('timestamp.json', ({ signed }) => signed.version++)
    await expect(world.refresh()).rejects.toThrow(code('metadata-signature'))
  })

  test('when another role’s key signed it', async () => {
    const world = new World()
    world.sign('timestamp', world.roles['snapshot']!.signers)
    await expect(world.refresh()).rejects.toThrow(code('metadata-signature'))
  })

  test('when it is longer than the limit, whatever fetch was told', async () => {
    const world = new World()
    world.served.set('timestamp.json', new Uint8Array(16_385))
    await expect(world.refresh()).rejects.toThrow(code('metadata-too-large'))
  })

  test('when it is a captive portal’s page', async () => {
    const world = new World()
    world.served.set('timestamp.json', Buffer.from('<!doctype html>'))
    await expect(world.refresh()).rejects.toThrow(code('metadata-invalid'))
  })
})

describe('snapshot.json is refused', () => {
  test('when it is not the one that timestamp names', async () => {
    const world = new World()
    const old = world.served.get('1.snapshot.json')!
    world.publish()
    world.served.set('2.snapshot.json', old)
    await expect(world.refresh()).rejects.toThrow(code('metadata-mismatch'))
  })

  test('when its keys signed two of one version, and this is the other one', async () => {
    for (const [change, refusal] of [
      [{ expires: '2027-03-01T12:00:01Z' }, 'metadata-mismatch'],
      [{ spec_version: '1.0' }, 'metadata-mismatch'],
      [{ note: 'longer than timestamp.json says' }, 'metadata-too-large'],
    ] as const) {
      const world = new World()
      const named = world.served.get('timestamp.json')!
      world.roles['snapshot']!.version--
      Object.assign(world.signed('snapshot'), change)
      world.publishSnapshot()
      world.served.set('timestamp.json', named)
      await expect(world.refresh()).rejects.toThrow(code(refusal))
    }
  })

  test('when it forgets a role, or names an older one, than before', async () => {
    for (const forget of [true, false]) {
      const world = new World()
      world.delegate('team', ['edge-os/*/*'])
      world.publish('team')
      world.publish('team')
      await world.refresh()
      const { meta } = world.signed('snapshot')
      if (forget) delete meta['team.json']
      else meta['team.json'].version = 1
      world.publishSnapshot()
      await expect(world.refresh()).rejects.toThrow(code('metadata-rollback'))
    }
  })

  test('when it has expired', async () => {
    const world = new World()
    world.signed('snapshot').expires = '2026-03-02T12:00:00Z'
    world.publishSnapshot()
    await expect(world.refresh({ now: inDays(2) })).rejects.toThrow(code('metadata-expired'))
  })

  test('when the server has none', async () => {
    const world = new World()
    world.served.delete('1.snapshot.json')
    await expect(world.refresh()).rejects.toThrow(code('metadata-unavailable'))
  })
})

describe('targets.json is refused', () => {
  test('when it is of another version than snapshot says (mix and match)', async () => {
    const world = new World()
    const old = world.served.get('1.targets.json')!
    world.publish()
    world.served.set('2.targets.json', old)
    await expect(world.refresh()).rejects.toThrow(code('metadata-mismatch'))
  })

  test('when it is of another version, and snapshot gives no hash', async () => {
    const world = new World()
    const old = world.served.get('1.targets.json')!
    world.publish()
    world.signed('snapshot').meta['targets.json'] = { version: 2 }
    world.publishSnapshot()
    world.served.set('2.targets.json', old)
    await expect(world.refresh()).rejects.toThrow(code('metadata-mismatch'))
  })

  test('when the right keys did not sign it, although snapshot vouches for its bytes', async () => {
    const world = new World()
    world.roles['targets']!.signers = [newSigner()]
    world.publish()
    await expect(world.refresh()).rejects.toThrow(code('metadata-signature'))
  })

  test('when it has expired, however stale timestamp and snapshot may be', async () => {
    const world = new World()
    for (const role of ['timestamp', 'snapshot', 'targets'])
      world.signed(role).expires = '2026-03-02T12:00:00Z'
    world.publish()
    await expect(world.refresh({ now: inDays(2), staleSeconds: 30 * 86_400 })).rejects.toThrow(
      expect.objectContaining({ code: 'metadata-expired', message: expect.stringContaining('targets.json') }),
    )
  })
})

describe('a stale policy', () => {
  test('extends timestamp and snapshot by its seconds, and no more', async () => {
    const world = new World()
    for (const role of ['timestamp', 'snapshot']) world.signed(role).expires = '2026-03-02T12:00:00Z'
    world.publish()
    const staleSeconds = 3600
    await world.refresh({ now: new Date('2026-03-02T12:59:59Z'), staleSeconds })
    await expect(world.refresh({ now: new Date('2026-03-02T13:00:00Z'), staleSeconds })).rejects.toThrow(
      expect.objectContaining({
        code: 'metadata-expired',
        message: expect.stringContaining('timestamp.json'),
      }),
    )
  })

  test('does not extend root', async () => {
    const world = new World()
    world.signed('root').expires = '2026-03-02T12:00:00Z'
    world.publishRoot()
    await expect(world.refresh({ now: inDays(2), staleSeconds: 30 * 86_400 })).rejects.toThrow(
      code('metadata-expired'),
    )
  })

  test('says the same of a repository that did not change since the last refresh', async () => {
    const world = new World()
    world.signed('timestamp').expires = '2026-03-02T12:00:00Z'
    world.sign('timestamp')
    await world.refresh()
    await expect(world.refresh({ now: inDays(2) })).rejects.toThrow(
      expect.objectContaining({
        code: 'metadata-expired',
        message: expect.stringContaining('timestamp.json'),
      }),
    )
  })
})

describe('what the surroundings throw', () => {
  test('a MusterError of fetch stays what it is', async () => {
    const away = new MusterError('server-unreachable', 'away')
    await expect(new World().refresh({ fetch: () => Promise.reject(away) })).rejects.toBe(away)
  })

  test('any other error of fetch is metadata-unavailable with its cause', async () => {
    const reset = new Error('connection reset')
    await expect(new World().refresh({ fetch: () => Promise.reject(reset) })).rejects.toThrow(
      expect.objectContaining({ code: 'metadata-unavailable', cause: reset }),
    )
  })

  test('a disk that cannot be written is not a wrong signature', async () => {
    const full = new MusterError('store-failed', 'full')
    const files = { read: async () => undefined, write: () => Promise.reject(full) }
    await expect(new World().refresh({ files })).rejects.toBe(full)
  })
})

test.each([
  ['team', 'team.json'],
  ['../team', '%2E%2E%2Fteam.json'],
  ['2.root', '2%2Eroot.json'],
  ['/etc', '%2Fetc.json'],
])('the role %s is kept as %s', (role, name) => {
  expect(fileNameOf(role)).toBe(name)
})

test('a fast-forwarded timestamp is forgotten when its key is replaced', async () => {
  const world = new World()
  world.roles['timestamp']!.version = 1_000_000
  world.sign('timestamp')
  await world.refresh()
  world.roles['timestamp'] = { ...world.roles['timestamp']!, version: 1, signers: [newSigner()] }
  world.publishRoot()
  world.sign('timestamp')
  expect((await world.refresh()).versions.timestamp).toBe(2)
})

test('content is described by the hash that is in the signed file', async () => {
  const world = new World()
  world.addTarget('edge-os/1/arm64', 'a manifest')
  world.publish()
  const [target] = (await world.refresh()).targets()
  expect(target?.sha256).toBe(sha256Of(Buffer.from('a manifest')))
})
