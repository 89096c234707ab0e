import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { planPayloadType, planRole } from '../../src/protocol/plan.ts'
import { signEnvelope } from '../../src/signing/dsse.ts'
import { VerifiedTarget } from '../../src/tuf/verify.ts'
import { newSigner, sha256Of, World } from './world.ts'

const code = (name: string) => expect.objectContaining({ code: name })
const path = 'edge-os/1.0/arm64'

describe('a target', () => {
  test('is found with everything that its signer said of it', async () => {
    const world = new World()
    world.addTarget(path, 'manifest', { kind: 'artifact', releaseCounter: 7 })
    world.publish()
    const target = await (await world.refresh()).findTarget(path)
    expect(target).toMatchObject({
      repository: 'factory',
      path,
      length: 8,
      sha256: sha256Of(Buffer.from('manifest')),
      custom: { kind: 'artifact', releaseCounter: 7 },
      versions: { root: 1, timestamp: 2, snapshot: 2, targets: 2 },
    })
    expect(VerifiedTarget.isVerified(target)).toBe(true)
  })

  test('cannot be changed once it is verified', async () => {
    const world = new World()
    world.addTarget(path, 'manifest', { nested: { counter: 1 } })
    world.publish()
    const target = (await (await world.refresh()).requireTarget(path)) as VerifiedTarget & {
      custom: { nested: object }
    }
    expect(() => Object.assign(target, { sha256: '00' })).toThrow(TypeError)
    expect(() => Object.assign(target.custom.nested, { counter: 2 })).toThrow(TypeError)
    expect(() => Object.assign(target.versions, { root: 9 })).toThrow(TypeError)
  })

  test('that nobody lists is undefined, or target-not-found where it is required', async () => {
    const repository = await new World().refresh()
    expect(await repository.findTarget(path)).toBeUndefined()
    await expect(repository.requireTarget(path)).rejects.toThrow(code('target-not-found'))
  })

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])(
    'called %s is not found in every object',
    async (name) => {
      expect(await (await new World().refresh()).findTarget(name)).toBeUndefined()
    },
  )

  test('without sha256 is never vouched for', async () => {
    const world = new World()
    const hashes = { sha512: createHash('sha512').update('x').digest('hex') }
    world.signed('targets').targets[path] = { length: 1, hashes }
    world.publish()
    const repository = await world.refresh()
    await expect(repository.findTarget(path)).rejects.toThrow(code('target-invalid'))
    expect(() => repository.targets()).toThrow(code('target-invalid'))
  })
})

describe('VerifiedTarget', () => {
  const fields = {
    repository: 'factory',
    path,
    length: 1,
    sha256: 'ab'.repeat(32),
    custom: {},
    versions: { root: 1, timestamp: 1, snapshot: 1, targets: 1 },
  }

  test('cannot be made by anybody else', () => {
    expect(() => new VerifiedTarget(Symbol('made by TUF verification'), fields)).toThrow(code('not-verified'))
    expect(() => Reflect.construct(VerifiedTarget, [undefined, fields])).toThrow(code('not-verified'))
  })

  test('is not a cast, a copy, or an object with its prototype', async () => {
    const world = new World()
    world.addTarget(path, 'manifest')
    world.publish()
    const real = await (await world.refresh()).requireTarget(path)
    const forgeries = [
      fields,
      { ...real },
      Object.create(VerifiedTarget.prototype),
      Object.create(real),
      null,
      'x',
    ]
    for (const forgery of forgeries) expect(VerifiedTarget.isVerified(forgery)).toBe(false)
    expect(VerifiedTarget.isVerified(structuredClone({ ...real }))).toBe(false)
  })
})

describe('a delegation', () => {
  test('lets a role speak for its paths, and only for those', async () => {
    const world = new World()
    world.delegate('team', ['edge-os/*/*'])
    world.addTarget(path, 'ours', undefined, 'team')
    world.addTarget('other-os/1.0/arm64', 'not theirs', undefined, 'team')
    world.publish('team')
    const repository = await world.refresh()
    expect((await repository.requireTarget(path)).sha256).toBe(sha256Of(Buffer.from('ours')))
    expect(await repository.findTarget('other-os/1.0/arm64')).toBeUndefined()
  })

  test('is asked in its order of appearance, and the delegator before it', async () => {
    const world = new World()
    for (const team of ['zeta', 'alpha']) {
      world.delegate(team, ['*/*/*'])
      world.addTarget(path, team, undefined, team)
    }
    world.publish('zeta', 'alpha')
    const target = await (await world.refresh()).requireTarget(path)
    expect(target.sha256).toBe(sha256Of(Buffer.from('zeta')))
    world.addTarget(path, 'top')
    world.publish()
    expect((await (await world.refresh()).requireTarget(path)).sha256).toBe(sha256Of(Buffer.from('top')))
  })

  test('that terminates is the last to be asked', async () => {
    const world = new World()
    world.delegate('team', ['edge-os/*/*'], { terminating: true })
    world.delegate('fallback', ['*/*/*'])
    world.addTarget(path, 'fallback', undefined, 'fallback')
    world.publish('team', 'fallback')
    expect(await (await world.refresh()).findTarget(path)).toBeUndefined()
    expect(world.requests).not.toContain('1.fallback.json')
  })

  test('that terminates further down is the last as well, for those who wait higher up', async () => {
    const world = new World()
    world.delegate('product', ['edge-os/*/*'])
    world.delegate('fallback', ['*/*/*'])
    world.delegate('team', ['edge-os/1.0/*'], { delegator: 'product', terminating: true })
    world.addTarget(path, 'fallback', undefined, 'fallback')
    world.addTarget('edge-os/2.0/arm64', 'fallback', undefined, 'fallback')
    world.publish('product', 'fallback', 'team')
    const repository = await world.refresh()
    expect(await repository.findTarget(path)).toBeUndefined()
    expect(await repository.findTarget('edge-os/2.0/arm64')).toBeDefined()
  })

  test('in a circle ends', async () => {
    const world = new World()
    world.delegate('a', ['*/*/*'])
    world.delegate('b', ['*/*/*'], { delegator: 'a' })
    world.delegate('a', ['*/*/*'], { delegator: 'b' })
    world.publish('a', 'b')
    expect(await (await world.refresh()).findTarget(path)).toBeUndefined()
  })

  test('to more roles than the limit is refused', async () => {
    const world = new World()
    const teams = Array.from({ length: 5 }, (_, index) => `team-${index}`)
    for (const team of teams) world.delegate(team, ['*/*/*'])
    world.publish(...teams)
    const repository = await world.refresh({ limits: { delegations: 3 } })
    await expect(repository.findTarget(path)).rejects.toThrow(code('metadata-too-large'))
  })

  test('whose role another key signed is refused', async () => {
    const world = new World()
    world.delegate('team', ['edge-os/*/*'])
    world.roles['team']!.signers = [newSigner()]
    world.publish('team')
    await expect((await world.refresh()).findTarget(path)).rejects.toThrow(code('metadata-signature'))
  })

  test('that was trusted through one delegator is not through another', async () => {
    const world = new World()
    world.delegate('a', ['edge-os/*/*'])
    world.delegate('b', ['other-os/*/*'])
    world.delegate('release', ['edge-os/*/*'], { delegator: 'a' })
    world.delegate('release', ['other-os/*/*'], { delegator: 'b' })
    world.roles['release']!.signers.pop()
    world.addTarget(path, 'right', undefined, 'release')
    world.addTarget('other-os/1.0/arm64', 'wrong', undefined, 'release')
    world.publish('release', 'a', 'b')
    const repository = await world.refresh()
    await repository.requireTarget(path)
    await expect(repository.findTarget('other-os/1.0/arm64')).rejects.toThrow(code('metadata-signature'))
  })

  test('that snapshot does not list is refused, and not even fetched', async () => {
    const world = new World()
    world.delegate('team', ['edge-os/*/*'])
    world.publish()
    const repository = await world.refresh()
    await expect(repository.findTarget(path)).rejects.toThrow(code('metadata-mismatch'))
    expect(world.requests.some((name) => name.includes('team'))).toBe(false)
  })

  test('that has expired is refused', async () => {
    const world = new World()
    world.delegate('team', ['edge-os/*/*'])
    world.signed('team').expires = '2026-01-01T00:00:00Z'
    world.publish('team')
    const repository = await world.refresh({ staleSeconds: 1_000_000_000 })
    await expect(repository.findTarget(path)).rejects.toThrow(code('metadata-expired'))
  })

  test('of a role with a path in its name stays in its folder', async () => {
    const world = new World()
    world.delegate('../team', ['edge-os/*/*'])
    world.addTarget(path, 'ours', undefined, '../team')
    world.publish('../team')
    await (await world.refresh()).requireTarget(path)
    expect(world.requests).toContain('1...%2Fteam.json')
    expect([...world.kept.keys()]).toContain('%2E%2E%2Fteam.json')
  })
})

describe('a signed plan', () => {
  const payload = Buffer.from('{"machine":"m-aaaaaaaaaaaaaaaa"}')
  const sign = (...signers: ReturnType<typeof newSigner>[]) =>
    signEnvelope({ payloadType: planPayloadType, payload, signers })

  test('by a delegated key is believed, byte for byte', async () => {
    const world = new World()
    const repository = await world.refresh()
    expect(Buffer.from(repository.verifyEnvelope(planRole, sign(world.planSigner)))).toEqual(payload)
  })

  test('by any other key is not: not even by the targets key, nor under the right keyid', async () => {
    const world = new World()
    const repository = await world.refresh()
    const [targetsSigner] = world.roles['targets']!.signers
    const stranger = { ...newSigner(), keyid: world.planSigner.keyid }
    for (const envelope of [sign(newSigner()), sign(targetsSigner!), sign(stranger)]) {
      expect(() => repository.verifyEnvelope(planRole, envelope)).toThrow(code('plan-signature'))
    }
  })

  test('with another payload, or another payload type, is not', async () => {
    const world = new World()
    const repository = await world.refresh()
    const good = sign(world.planSigner)
    for (const bad of [
      { ...good, payload: Buffer.from('{}').toString('base64') },
      { ...good, payloadType: 'application/vnd.muster.other.v1+json' },
      { ...good, payloadType: 'ü' },
      { ...good, payload: '!' },
      { ...good, signatures: [] },
    ]) {
      expect(() => repository.verifyEnvelope(planRole, bad)).toThrow(code('plan-signature'))
    }
  })

  test('with a payload type beyond ASCII is not, because its length could be counted in two ways', async () => {
    const world = new World()
    const repository = await world.refresh()
    const sig = Buffer.from(world.planSigner.sign(Buffer.from(`DSSEv1 1 ü ${payload.length} ${payload}`)))
    const signatures = [{ keyid: world.planSigner.keyid, sig: sig.toString('base64') }]
    const envelope = { payloadType: 'ü', payload: payload.toString('base64'), signatures }
    expect(() => repository.verifyEnvelope(planRole, envelope)).toThrow(code('plan-signature'))
  })

  test('under a keyid that is listed without its key is not', async () => {
    const world = new World()
    const absent = newSigner()
    world.signed('targets').delegations.roles[0].keyids.push(absent.keyid)
    world.publish()
    const repository = await world.refresh()
    expect(() => repository.verifyEnvelope(planRole, sign(absent))).toThrow(code('plan-signature'))
    expect(repository.verifyEnvelope(planRole, sign(absent, world.planSigner))).toBeDefined()
  })

  test('for a role that nobody delegated to is not', async () => {
    const world = new World()
    const repository = await world.refresh()
    for (const role of ['other', 'targets', 'constructor']) {
      expect(() => repository.verifyEnvelope(role, sign(world.planSigner))).toThrow(code('plan-signature'))
    }
  })

  test('has to meet the threshold with different keys', async () => {
    const world = new World()
    const second = newSigner()
    const { delegations } = world.signed('targets')
    delegations.keys[second.keyid] = second.publicKey
    Object.assign(delegations.roles[0], { threshold: 2 })
    delegations.roles[0].keyids.push(second.keyid)
    world.publish()
    const repository = await world.refresh()
    expect(() => repository.verifyEnvelope(planRole, sign(world.planSigner, world.planSigner))).toThrow(
      code('plan-signature'),
    )
    expect(repository.verifyEnvelope(planRole, sign(world.planSigner, second))).toEqual(
      new Uint8Array(payload),
    )
  })
})
