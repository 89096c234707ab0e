/** A plan holds for minutes. Whoever makes fetching last longer than that must not choose by it what a machine starts. */
import { describe, expect, test } from 'vitest'
import type { Plan } from '../../src/protocol/plan.ts'
import { World } from './world.ts'

/** What the mirror's "later" holds up: three times five minutes, and the plan is valid for ten. */
const limits = { retryAfterMostMs: 300_000, requestAttempts: 5 }
const later = { status: 503, headers: { 'retry-after': '300' } }

/**
 * A machine whose mirror holds up the manifest. `meanwhile` happens on the server's side, where the minutes pass as well; `plan`
 * changes the plan that is asked for again.
 */
async function createWorld(
  options: { meanwhile?: (world: World) => void; plan?: (plan: Plan) => Plan } = {},
): Promise<{ world: World; plans: Plan[] }> {
  const world = new World()
  world.release()
  await world.listen()
  const plans: Plan[] = []
  world.changePlan = (plan) => {
    const given = plans.length === 0 ? plan : (options.plan?.(plan) ?? plan)
    plans.push(given)
    return given
  }
  world.meddle = ({ path, count }) => {
    if (/\/targets\/hello\/1\.0\.0\//.test(path) && count <= 3) return later
    if (!path.endsWith('/plan') || count !== 2) return undefined
    world.nowMs += 900_000
    options.meanwhile?.(world)
    return undefined
  }
  return { world, plans }
}

describe('a plan that expired while content was fetched', () => {
  test('is asked for again in the same session, and the new one is booted by', async () => {
    const { world: made, plans } = await createWorld({
      plan: (plan) => ({ ...plan, arguments: ['console=ttyS1'] }),
    })
    await using world = made
    const { lines, started } = await world.boot({ limits })
    expect(started).toBe(true)
    expect(plans).toHaveLength(2)
    expect(plans[1]!.boot).toBe(plans[0]!.boot)
    expect(world.hellos).toHaveLength(1)
    expect(world.badSignatures).toEqual([])
    expect(lines).toContain(
      `muster: plan: it expired at ${plans[0]!.expires} while content was fetched; asking again`,
    )
    expect(world.read('kexec.log').toString()).toContain('--command-line=root=/dev/ram0 ro console=ttyS1 ')
  })

  test('and is now for another release: nothing of the old one is loaded, and the next round boots the new one', async () => {
    const { world: made } = await createWorld({
      meanwhile: (world) => world.release({ version: '2.0.0', counter: 2, layers: { cmdline: 'two' } }),
    })
    await using world = made
    const first = await world.boot({ limits })
    expect(first.code).toBe('plan-changed')
    expect(first.lines.join('\n')).toContain("the server's new one is now hello/2.0.0/amd64")
    expect(world.has('kexec.log')).toBe(false)
    const second = await world.boot({ limits })
    expect(second.started).toBe(true)
    expect(second.lines).toContain('muster: kexec: starting hello/2.0.0/amd64')
  })

  test('and now brings other files for the machine: plan-changed', async () => {
    const { world: made } = await createWorld({
      plan: (plan) => ({ ...plan, files: [{ ...plan.files[0]!, bytes: 'b3RoZXI=' }] }),
    })
    await using world = made
    expect((await world.boot({ limits })).code).toBe('plan-changed')
    expect(world.has('kexec.log')).toBe(false)
  })

  test('by a floor that rose meanwhile is not booted: release-below-floor', async () => {
    const { world: made } = await createWorld({ meanwhile: (world) => world.channel(2) })
    await using world = made
    expect((await world.boot({ limits })).code).toBe('release-below-floor')
    expect(world.has('kexec.log')).toBe(false)
  })

  test('while the server has nothing for the machine any more: it is left alone', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.changePlanReply = (reply, count) => (count === 2 ? { status: 'skip', reason: 'retired' } : reply)
    const { ending } = await world.boot({ limits })
    expect(ending).toBe('restart')
    expect(world.has('kexec.log')).toBe(false)
  })

  test('and comes once more as it was is no younger for it: plan-expired', async () => {
    const { world: made } = await createWorld()
    await using world = made
    let first: unknown
    world.changePlanReply = (reply) => {
      first ??= reply
      return first
    }
    expect((await world.boot({ limits })).code).toBe('plan-expired')
    expect(world.has('kexec.log')).toBe(false)
  })

  test('and whose new metadata is held up as long: plan-expired', async () => {
    const { world: made, plans } = await createWorld()
    await using world = made
    const { meddle } = world
    let heldUp = 0
    world.meddle = (request, response) => {
      const isSecond = plans.length === 2 && request.path.endsWith('/timestamp.json')
      if (isSecond && ++heldUp <= 3) return later
      return meddle(request, response)
    }
    expect((await world.boot({ limits })).code).toBe('plan-expired')
    expect(heldUp).toBeGreaterThan(2)
    expect(world.has('kexec.log')).toBe(false)
  })
})

test('a plan that still holds is asked for once', async () => {
  const { world: made, plans } = await createWorld()
  await using world = made
  world.meddle = () => undefined
  expect((await world.boot({ limits })).started).toBe(true)
  expect(plans).toHaveLength(1)
})
