/** The trusted set alone: what holds even where its caller forgets a step. */
import { expect, test } from 'vitest'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { TrustedSet } from '../../src/tuf/verify.ts'
import { now, World } from './world.ts'

const code = (name: string) => expect.objectContaining({ code: name })

function trustedSet(world: World, overrides: { now?: Date; staleSeconds?: number } = {}): TrustedSet {
  const root = world.trustedRoot
  return new TrustedSet({
    repository: 'factory',
    root,
    now,
    staleSeconds: 0,
    crypto: createNodeCrypto(),
    ...overrides,
  })
}

const read = (world: World, name: string) => world.served.get(name)!

test('a timestamp is not taken under a root that has expired, however stale it may be itself', () => {
  const world = new World()
  const late = trustedSet(world, { now: new Date('2028-01-01T00:00:00Z'), staleSeconds: 1_000_000_000 })
  expect(() => late.acceptTimestamp(read(world, 'timestamp.json'))).toThrow(
    expect.objectContaining({ code: 'metadata-expired', message: expect.stringContaining('1.root.json') }),
  )
})

test('nothing is taken before what vouches for it', () => {
  const world = new World()
  const trusted = trustedSet(world)
  expect(() => trusted.acceptSnapshot(read(world, '1.snapshot.json'), 'network')).toThrow(code('internal'))
  expect(() => trusted.acceptTargets(read(world, '1.targets.json'), 'targets', 'root')).toThrow(
    code('internal'),
  )
  expect(() => trusted.versions).toThrow(code('internal'))
})

test('a role that was not accepted vouches for nothing', () => {
  const world = new World()
  const trusted = trustedSet(world)
  trusted.acceptTimestamp(read(world, 'timestamp.json'))
  trusted.acceptSnapshot(read(world, '1.snapshot.json'), 'network')
  expect(() => trusted.vouch('edge-os/1/arm64', 'targets')).toThrow(code('target-not-found'))
  trusted.acceptTargets(read(world, '1.targets.json'), 'targets', 'root')
  expect(() => trusted.vouch('toString', 'targets')).toThrow(code('target-not-found'))
})

test('what was accepted cannot be changed behind its back', () => {
  const world = new World()
  world.addTarget('edge-os/1/arm64', 'manifest', { kind: 'artifact' })
  world.publish()
  const trusted = trustedSet(world)
  trusted.acceptTimestamp(read(world, 'timestamp.json'))
  trusted.acceptSnapshot(read(world, '2.snapshot.json'), 'network')
  trusted.acceptTargets(read(world, '2.targets.json'), 'targets', 'root')
  const listed = trusted.targets('targets')!
  expect(() => Object.assign(listed.targets, { other: listed.targets['edge-os/1/arm64'] })).toThrow(TypeError)
  expect(() => Object.assign(listed.targets['edge-os/1/arm64']!.hashes, { sha256: '00' })).toThrow(TypeError)
})

test('a timestamp of the same version is no news, and a newer one is', () => {
  const world = new World()
  const trusted = trustedSet(world)
  expect(trusted.acceptTimestamp(read(world, 'timestamp.json'))).toBe(true)
  expect(trusted.acceptTimestamp(read(world, 'timestamp.json'))).toBe(false)
  world.publish()
  expect(trusted.acceptTimestamp(read(world, 'timestamp.json'))).toBe(true)
})
