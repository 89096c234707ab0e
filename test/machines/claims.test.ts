/** Between the look at a newcomer and its approval a neighbour says hello with its MAC address and another identity. */
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Meant } from '../../src/machines/claims.ts'
import type { HelloRequest } from '../../src/protocol/hello.ts'
import { createWorld, helloOf, kinds, sayHello, type World } from './world.ts'

const mac = '52:54:00:aa:00:03'
const stranger = { key: generateKeyPairSync('ed25519').publicKey }
const elsewhere = '192.0.2.66'
const plain = 'b2a6d0f4-4f3e-4d06-9d0c-1f6a5a0f0001'
const other = 'b2a6d0f4-4f3e-4d06-9d0c-1f6a5a0f0002'

type Claim = Exclude<keyof Meant, 'macs'>
type Claims = { [Key in Claim]?: string | undefined }

/** A hello of the machine, as itself but for what is given; `undefined` leaves it out. */
function as(claims: Claims, said = {}): HelloRequest {
  const all = { uuid: plain, serial: 'PLAIN-7777', vendor: 'Acme', product: 'Box', arch: 'amd64', ...claims }
  const { uuid, serial, vendor, product, arch } = all
  const hello = helloOf(mac, said)
  return {
    ...hello,
    agent: { ...hello.agent, arch: arch as 'amd64' },
    identifiers: { macs: [mac], ...given({ uuid, serial }) },
    hardware: { ...hello.hardware, ...given({ vendor, product }) },
  }
}
const given = (claims: Claims) =>
  Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined)) as Record<
    string,
    string
  >

async function seen(world: World, claims: Claims = {}) {
  const { machine } = await sayHello(world, as(claims))
  world.pass(1000)
  return machine
}
const neighbour = (world: World, claims: Claims) => sayHello(world, as(claims, stranger), elsewhere)

describe('a machine that says it is another one before anybody decided on it', () => {
  test.each([
    ['serial', 'CTRL-0001', 'plain-7777', 'ctrl-0001'],
    ['uuid', other, plain, other],
    ['vendor', 'Initech', 'Acme', 'Initech'],
    ['product', 'Controller', 'Box', 'Controller'],
    ['arch', 'arm64', 'amd64', 'arm64'],
  ] as const)('is not approved as what a person saw: %s', async (field, said, before, now) => {
    await using world = await createWorld()
    const { id, name } = await seen(world)
    expect((await neighbour(world, { [field]: said })).machine.id).toBe(id)
    const error = await world.machines.approve(id, 'anna').catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'machine-changed', details: { [field]: now } })
    const { message } = error as Error
    expect(message).toContain(`'${now}' since 2026-06-01T08:00:01.000Z (before: '${before}')`)
    expect(message.endsWith(`muster approve ${name} --${field} ${now}`)).toBe(true)
    await expect(world.machines.approve(id, 'anna', { [field]: before })).rejects.toMatchObject({
      code: 'machine-changed',
    })
    await expect(world.machines.approve(id, 'anna', { macs: [mac] })).rejects.toMatchObject({
      code: 'machine-changed',
    })
    expect((await world.machines.get(id)).enrolment).toBe('discovered')
    const approved = await world.machines.approve(id, 'anna', { [field]: said })
    expect(approved).toMatchObject({ enrolment: 'approved', [field]: now })
    expect(await world.machines.get(id)).not.toHaveProperty('claimsChanged')
  })

  test('has an event that says what it said before, once per change and not per hello', async () => {
    await using world = await createWorld()
    const { id } = await seen(world)
    for (let round = 0; round < 3; round++)
      await neighbour(world, { serial: 'CTRL-0001', vendor: 'Initech', product: undefined })
    const events = (await world.machines.events({ machineId: id })).filter(
      ({ kind }) => kind === 'identity-changed',
    )
    expect(events).toMatchObject([
      {
        assurance: 'claimed',
        message:
          "it now says the serial number 'ctrl-0001', before 'plain-7777'; the vendor 'Initech', before 'Acme'; the product none, before 'Box': another machine may be speaking for it",
        data: {
          before: { serial: 'plain-7777', vendor: 'Acme', product: 'Box' },
          now: { serial: 'ctrl-0001', vendor: 'Initech', product: null },
        },
      },
    ])
  })

  test('wants every change named, also that it says none any more, and that it says its own again', async () => {
    await using world = await createWorld()
    const { id } = await seen(world)
    await neighbour(world, { serial: 'CTRL-0001', product: undefined })
    const changed = { code: 'machine-changed' }
    await expect(world.machines.approve(id, 'anna', { serial: 'ctrl-0001' })).rejects.toMatchObject(changed)
    world.pass(1000)
    await sayHello(world, as({}))
    await expect(world.machines.approve(id, 'anna')).rejects.toMatchObject(changed)
    await neighbour(world, { product: undefined })
    const meant = { serial: 'PLAIN-7777', product: '' }
    expect(await world.machines.approve(id, 'anna', meant)).toMatchObject({ serial: 'plain-7777' })
  })

  test('is no newcomer with an empty field because somebody emptied it first', async () => {
    await using world = await createWorld()
    const { id } = await seen(world)
    await neighbour(world, { serial: undefined })
    await neighbour(world, { serial: 'CTRL-0001' })
    await expect(world.machines.approve(id, 'anna')).rejects.toMatchObject({
      code: 'machine-changed',
      message: expect.stringContaining("(before: 'plain-7777')"),
    })
  })

  test('needs its change named also after it was quarantined', async () => {
    await using world = await createWorld()
    const { id } = await seen(world)
    await neighbour(world, { serial: 'CTRL-0001' })
    await world.machines.quarantine(id, 'anna')
    await expect(world.machines.approve(id, 'anna')).rejects.toMatchObject({ code: 'machine-changed' })
  })

  test.each([
    ['another serial number', { serial: 'PLAIN-7777' }],
    ['one where it said none', { serial: undefined }],
  ])('is not approved where it says %s in the very moment of the approval', async (_, before) => {
    await using world = await createWorld()
    const { id, name } = await seen(world, before)
    // The approval has read the record and judged it, and comes to write.
    const { atomically } = world.database
    world.database.atomically = async (queries) => {
      world.database.atomically = atomically
      await neighbour(world, { serial: 'CTRL-0001' })
      return atomically(queries)
    }
    await expect(world.machines.approve(id, 'anna')).rejects.toMatchObject({
      code: 'machine-changed',
      message: expect.stringContaining(`muster approve ${name} --serial ctrl-0001`),
    })
    expect(await world.machines.get(id)).toMatchObject({ enrolment: 'discovered', serial: 'ctrl-0001' })
    expect(await kinds(world, { machineId: id })).not.toContain('approved')
  })

  test('gives a command that runs nothing else, whatever it says, and that its shell reads back', async () => {
    await using world = await createWorld()
    const { id, name } = await seen(world)
    const vendor = "x'; $(reboot) `halt` \u001b[2J\nrack-7 is approved"
    await neighbour(world, { vendor, product: '-rf' })
    const error = (await world.machines.approve(id, 'anna').catch((thrown: unknown) => thrown)) as Error
    expect(error.message).not.toMatch(/[\u0000-\u001f]/)
    const command = error.message.slice(error.message.indexOf(`muster approve ${name}`))
    const words = execFileSync('sh', ['-c', `muster() { printf '%s\\0' "$@"; }; ${command}`], {
      encoding: 'utf8',
    })
    const [verb, machine, ...options] = words.split('\0').slice(0, -1)
    expect([verb, machine, options.filter((_, index) => index % 2 === 0)]).toEqual([
      'approve',
      name,
      ['--vendor', '--product'],
    ])
    const meant = { vendor: options[1] as string, product: options[3] as string }
    expect(await world.machines.approve(id, 'anna', meant)).toMatchObject({ enrolment: 'approved' })
  })
})

describe('a machine that says what it left empty before', () => {
  test('is approved as it is, has an event, and who approves it is told', async () => {
    await using world = await createWorld()
    const { id } = await seen(world, { serial: undefined, product: undefined })
    await sayHello(world, as({}))
    expect(await kinds(world, { machineId: id })).toContain('identity-filled')
    expect(await kinds(world, { machineId: id })).not.toContain('identity-changed')
    const claimsChanged = {
      serial: { at: '2026-06-01T08:00:01.000Z' },
      product: { at: '2026-06-01T08:00:01.000Z' },
    }
    expect(await world.machines.get(id)).toMatchObject({ claimsChanged })
    expect(await world.machines.approve(id, 'anna')).toMatchObject({ enrolment: 'approved', claimsChanged })
  })

  test('is refused to a person who means one without', async () => {
    await using world = await createWorld()
    const { id, name } = await seen(world, { serial: undefined })
    await neighbour(world, { serial: 'CTRL-0001' })
    await expect(world.machines.approve(id, 'anna', { serial: '' })).rejects.toMatchObject({
      code: 'machine-changed',
      message: expect.stringContaining(`muster approve ${name} --serial ctrl-0001`),
    })
  })

  test('by a placeholder of its firmware said nothing', async () => {
    await using world = await createWorld()
    const { id } = await seen(world, { serial: 'To Be Filled By O.E.M.' })
    await sayHello(world, as({ serial: 'Default string' }))
    expect(await world.machines.get(id)).not.toHaveProperty('claimsChanged')
  })
})
