import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createWorld, helloOf, type World } from './world.ts'

const mac = '52:54:00:00:00:01'
const dhcp = (message = 'DHCP: iPXE asked and got OFFER', of = mac) => ({
  mac: of,
  step: 'dhcp' as const,
  message,
})

let world: World
afterEach(() => world[Symbol.asyncDispose]())

const hello = async (macs: string | string[] = mac) => {
  const request = helloOf(macs)
  const from = { address: '192.0.2.9', rawBytes: Buffer.from(JSON.stringify(request)) }
  return world.machines.hello(request, from)
}

/** Notes are kept beside what a reply waits for: a query later they are there. */
const settle = async () => {
  for (let step = 0; step < 5; step += 1) await world.machines.count()
}

describe('what firmware did before a hello', () => {
  beforeEach(async () => {
    world = await createWorld()
  })

  test('of a machine that nobody knows is the beginning of the boot that its hello opens', async () => {
    world.machines.noteFirmware(dhcp())
    world.pass(3000)
    world.machines.noteFirmware({ mac: '52-54-00-00-00-01', step: 'script', message: 'asked for its script' })
    await settle()
    world.pass(20_000)
    const { boot } = await hello()
    const events = await world.machines.events({ bootId: boot.id })
    expect(events.map(({ at, kind, message }) => [at.slice(11, 19), kind, message.slice(0, 30)])).toEqual([
      ['08:00:00', 'firmware', 'DHCP: iPXE asked and got OFFER'],
      ['08:00:03', 'firmware', 'asked for its script'],
      ['08:00:23', 'hello', 'agent 0.1.0 (network) said hel'],
    ])
    expect(events[0]).toMatchObject({ assurance: 'claimed', data: { step: 'dhcp', mac } })
  })

  test('of a machine that is known is in its timeline at once, and then begins its boot', async () => {
    const { machine } = await hello()
    world.pass(3_600_000)
    world.machines.noteFirmware(dhcp())
    await settle()
    const loose = (await world.machines.events({ machineId: machine.id })).filter(
      ({ kind }) => kind === 'firmware',
    )
    expect(loose).toHaveLength(1)
    expect(loose[0]?.bootId).toBeUndefined()
    const { boot } = await hello()
    const ofBoot = await world.machines.events({ bootId: boot.id })
    expect(ofBoot[0]).toMatchObject({ id: loose[0]?.id, kind: 'firmware' })
    expect(ofBoot.filter(({ kind }) => kind === 'firmware')).toHaveLength(1)
  })

  test('is not told twice: a second hello finds nothing left', async () => {
    world.machines.noteFirmware(dhcp())
    await hello()
    const { boot } = await hello()
    const kinds = (await world.machines.events({ bootId: boot.id })).map(({ kind }) => kind)
    expect(kinds).not.toContain('firmware')
  })

  test('is one event for what is only repeated, and belongs to no boot after a while', async () => {
    for (let count = 0; count < 5; count += 1) {
      world.machines.noteFirmware(dhcp())
      world.pass(4000)
    }
    world.machines.noteFirmware(dhcp('long ago', '52:54:00:00:00:02'))
    const first = await hello()
    const ofFirst = await world.machines.events({ bootId: first.boot.id })
    expect(ofFirst.filter(({ kind }) => kind === 'firmware')).toHaveLength(1)
    world.pass(901_000)
    const second = await hello('52:54:00:00:00:02')
    const ofSecond = await world.machines.events({ bootId: second.boot.id })
    expect(ofSecond.filter(({ kind }) => kind === 'firmware')).toHaveLength(0)
  })

  test('counts among the events that a boot may have', async () => {
    const { machine } = await hello()
    world.machines.noteFirmware(dhcp())
    await settle()
    await hello()
    const rows = await world.database.db
      .selectFrom('boots')
      .select(['id', 'eventCount'])
      .where('machineId', '=', machine.id)
      .execute()
    for (const { id, eventCount } of rows)
      expect(eventCount).toBe((await world.machines.events({ bootId: id, limit: 1000 })).length)
  })

  test('of addresses that are none is not kept', async () => {
    for (const wrong of ['', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00', 'nonsense'])
      world.machines.noteFirmware(dhcp('x', wrong))
    await settle()
    const { boot } = await hello()
    expect((await world.machines.events({ bootId: boot.id })).map(({ kind }) => kind)).toEqual(['hello'])
  })
})

describe('what came from an address', () => {
  const address = '192.0.2.77'
  const loader = {
    address,
    step: 'loader' as const,
    over: 'tftp' as const,
    message: 'TFTP: fetched undionly.kpxe',
  }
  const script = {
    address,
    mac,
    step: 'script' as const,
    over: 'http' as const,
    message: 'HTTP: read its script',
  }
  const beginning = async (of: string | string[] = mac) => {
    const { boot } = await hello(of)
    const events = await world.machines.events({ bootId: boot.id })
    return events.filter(({ kind }) => kind === 'firmware').map(({ message }) => message)
  }
  beforeEach(async () => {
    world = await createWorld()
  })

  test('before anybody said whose it is, is told once the script says so, with its own time', async () => {
    world.machines.noteFirmware(loader)
    world.pass(4000)
    world.machines.noteFirmware(script)
    const { boot } = await hello()
    const events = await world.machines.events({ bootId: boot.id })
    expect(events.slice(0, 2).map(({ at, message }) => [at.slice(11, 19), message])).toEqual([
      ['08:00:00', 'TFTP: fetched undionly.kpxe'],
      ['08:00:04', 'HTTP: read its script'],
    ])
  })

  test('that DHCP gave is the machine that asked for it', async () => {
    world.machines.learnFirmwareAddress(address, mac)
    world.machines.noteFirmware(loader)
    expect(await beginning()).toEqual(['TFTP: fetched undionly.kpxe'])
  })

  test('is not of the machine that had this address a while ago', async () => {
    world.machines.learnFirmwareAddress(address, mac)
    world.pass(901_000)
    world.machines.noteFirmware(loader)
    expect(await beginning()).toEqual([])
  })

  test('is of the next machine that gets it', async () => {
    const other = '52:54:00:00:00:02'
    world.machines.learnFirmwareAddress(address, mac)
    world.machines.learnFirmwareAddress(address, other)
    world.machines.noteFirmware(loader)
    expect(await beginning()).toEqual([])
    expect(await beginning(other)).toEqual(['TFTP: fetched undionly.kpxe'])
  })
})

describe('firmware that gets no further', () => {
  const seconds = { dhcp: 30, loader: 60, script: 60, kernel: 300 }
  const others = ['hello', 'network', 'approval', 'plan', 'metadata', 'manifest', 'blobs', 'kexec', 'report']
  const expectedMs = Object.fromEntries([
    ...Object.entries(seconds).map(([step, count]) => [step, count * 1000]),
    ...others.map((step) => [step, 1e9]),
  ])
  const facts = { hardware: 'virtual' as const, ports: { firmware: 8080, agent: 8443, tftp: 69 } }
  const sweep = () => world.machines.sweepStalled({ expectedMs, facts })
  const stalls = async () =>
    (await world.machines.events({})).filter(({ kind }) => kind === 'stalled').map(({ message }) => message)
  beforeEach(async () => {
    world = await createWorld()
  })

  test('is said with the likely cause, once, also of a machine that nobody knows', async () => {
    world.machines.noteFirmware(dhcp())
    world.pass(29_000)
    expect(await sweep()).toBe(0)
    world.pass(3000)
    expect(await sweep()).toBe(1)
    world.pass(60_000)
    world.machines.noteFirmware(dhcp())
    world.pass(60_000)
    expect(await sweep()).toBe(0)
    const [message, ...more] = await stalls()
    expect(more).toEqual([])
    expect(message).toMatch(
      /^52:54:00:00:00:01: nothing was heard for 32 s after 'dhcp': .*UDP port 69 is blocked/,
    )
  })

  test('is said again at the next step, and of the next boot', async () => {
    world.machines.noteFirmware(dhcp())
    world.pass(31_000)
    await sweep()
    world.machines.noteFirmware({ mac, step: 'loader', over: 'tftp', message: 'TFTP: fetched undionly.kpxe' })
    world.pass(61_000)
    expect(await sweep()).toBe(1)
    world.pass(3_600_000)
    world.machines.noteFirmware(dhcp())
    world.pass(31_000)
    expect(await sweep()).toBe(1)
    expect((await stalls()).map((message) => /after '(\w+)'/.exec(message)?.[1])).toEqual([
      'dhcp',
      'loader',
      'dhcp',
    ])
  })

  test('is none that was told to go on to its disk, nor one whose agent said hello', async () => {
    world.machines.noteFirmware({
      mac,
      step: 'script',
      final: true,
      message: 'read its script, which goes on',
    })
    world.machines.noteFirmware(dhcp('x', '52:54:00:00:00:02'))
    await hello('52:54:00:00:00:02')
    world.pass(1_000_000)
    expect(await sweep()).toBe(0)
  })
})

describe('a flood of invented addresses', () => {
  test('forgets the oldest, keeps a bounded number of each, and writes nothing', async () => {
    world = await createWorld({ limits: { firmwareMacsMax: 10, firmwareNotesPerMacMax: 3 } })
    world.machines.noteFirmware(dhcp('forgotten'))
    for (let last = 2; last < 500; last += 1)
      world.machines.noteFirmware(
        dhcp(
          'flood',
          `52:54:00:00:${(last >> 8).toString(16).padStart(2, '0')}:${(last & 255).toString(16).padStart(2, '0')}`,
        ),
      )
    for (let count = 0; count < 9; count += 1)
      world.machines.noteFirmware(dhcp(`step ${count}`, '52:54:00:00:ff:01'))
    await settle()
    expect(await world.machines.events({})).toEqual([])
    const oldest = await hello()
    expect((await world.machines.events({ bootId: oldest.boot.id })).map(({ kind }) => kind)).toEqual([
      'hello',
    ])
    const newest = await hello('52:54:00:00:ff:01')
    const messages = (await world.machines.events({ bootId: newest.boot.id })).map(({ message }) => message)
    expect(messages.slice(0, 3)).toEqual(['step 6', 'step 7', 'step 8'])
  })
})
