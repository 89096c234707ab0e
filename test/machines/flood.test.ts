/** `MUSTER_FLOOD=1000000 vitest run test/machines/flood` is the whole flood; the default shows the same in seconds. */
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { errorCodeOf } from '../../src/errors.ts'
import { machineLimits } from '../../src/machines/limits.ts'
import { createWorld, helloOf, helloProfile, sayHello, signed } from './world.ts'

const hellos = Number(process.env['MUSTER_FLOOD'] ?? 20_000)
const perBatch = 200

/** Random machines by a fixed seed (xorshift32), half of them from one address, half from addresses of all kinds. */
function createStrangers(seed: number) {
  let state = seed
  const draw = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
  const byte = () => (draw() & 0xff).toString(16).padStart(2, '0')
  return () => ({
    request: helloOf(`02:${byte()}:${byte()}:${byte()}:${byte()}:${byte()}`),
    address: draw() % 2 === 0 ? '192.0.2.66' : `10.${draw() % 256}.${draw() % 256}.${draw() % 256}`,
  })
}

test(`${hellos} hellos of random machines leave a bounded database, and a real machine joins meanwhile`, {
  timeout: 60_000 + hellos * 3,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-flood-'))
  try {
    const path = join(folder, 'muster.sqlite')
    await using world = await createWorld({ path })
    await world.machines.profiles.put(helloProfile)
    const stranger = createStrangers(0x5eed)
    const codes = new Map<string, number>()
    // One thousand hellos a second by the world's clock.
    const flood = async () => {
      world.pass(perBatch)
      const answers = await Promise.allSettled(
        Array.from({ length: perBatch }, () => {
          const { request, address } = stranger()
          return sayHello(world, request, address)
        }),
      )
      for (const answer of answers) {
        const code = answer.status === 'fulfilled' ? 'answered' : errorCodeOf(answer.reason)
        codes.set(code, (codes.get(code) ?? 0) + 1)
      }
    }

    // A machine that nobody knows yet comes in the middle of the flood and tries until it is heard, as agents do.
    const batches = Math.ceil(hellos / perBatch)
    const real = helloOf('52:54:00:12:34:56', { serial: 'real-0001' })
    let boot: string | undefined
    let sequence = 0
    let joined: number | undefined
    for (let batch = 0; batch < batches; batch++) {
      const said = boot === undefined && batch % 5 === 2 ? sayHello(world, real, '198.51.100.7') : undefined
      said?.catch(() => undefined)
      await flood()
      boot ??= await said?.then((answer) => answer.boot.id).catch(() => undefined)
      if (boot === undefined || joined !== undefined || batch % 20 !== 0) continue
      const session = await world.machines.authenticate(signed(boot, ++sequence))
      const { eligibility } = await world.machines.eligibility(boot)
      if (eligibility.status === 'wait') await world.machines.approve(session.boot.machineId, 'anna')
      else {
        const token = world.machines.reportToken(boot)
        await world.machines.report({ boot, status: 'joined', token, address: '198.51.100.7' })
        joined = batch
      }
    }

    expect(joined).toBeDefined()
    expect((await world.machines.boot(boot as string)).outcome).toBe('joined')
    const { discovered, approved } = await world.machines.count()
    expect(approved).toBe(1)
    expect(discovered).toBeGreaterThan(0)
    expect(discovered).toBeLessThanOrEqual(machineLimits.undecidedMax)
    for (const [table, max] of [
      ['machineMacs', 1002],
      ['boots', 3000],
      ['events', 6000],
    ] as const) {
      const { count } = await world.database.db
        .selectFrom(table)
        .select((row) => row.fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      expect(count).toBeLessThan(max)
    }
    expect([...codes.keys()].sort()).toEqual(['answered', 'limit-reached'])
    for (const name of [path, `${path}-wal`]) expect((await stat(name)).size).toBeLessThan(100 * 2 ** 20)
  } finally {
    await rm(folder, { recursive: true })
  }
})
