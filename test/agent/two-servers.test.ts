/** An agent that knows two servers: each can end a round, neither can hold the machine. */
import { describe, expect, test } from 'vitest'
import { failureOf, World } from './world.ts'

/** The same server under two names, so that the test can be two. */
async function createTwo() {
  const world = new World()
  world.release({ layers: { initrds: [Buffer.alloc(50_000, 7)] } })
  await world.listen()
  const { host: first, port } = new URL(world.url)
  const second = `localhost:${port}`
  // The other one has a key of its own.
  const pins = [...world.config.pins, `sha256//${'A'.repeat(43)}=`]
  world.config = { ...world.config, pins, servers: [`https://${first}`, `https://${second}`] }
  /** Who was said hello to. */
  const asked: string[] = []
  world.changeReply = (reply) => ({
    ...reply,
    mirrors: [{ kind: 'static', url: `https://${asked.at(-1)}/tuf/main` }],
  })
  return { world, first, second, asked }
}

/** Without the last: no program of the test is a kexec that never comes back. */
function failuresOf(lines: readonly string[]): (string | undefined)[] {
  const codes = lines.map((line) => failureOf([line])).filter((code) => code !== undefined)
  return codes.at(-1) === 'kexec-failed' ? codes.slice(0, -1) : codes
}

describe('two servers', () => {
  test('of which the first dies in the middle of the image: the second boots the machine', async () => {
    const { world: made, first, second, asked } = await createTwo()
    await using world = made
    let dead = false
    world.meddle = ({ path, headers }, response) => {
      if (path === '/agent/v1/hello' && !(dead && headers.host === first)) asked.push(String(headers.host))
      if (headers.host !== first) return undefined
      dead ||= path.includes('/blobs/')
      if (!dead) return undefined
      response.destroy()
      return 'taken'
    }
    const { lines, started } = await world.boot({ rounds: 2 })
    expect(failuresOf(lines)).toEqual(['blob-unavailable'])
    expect(started).toBe(true)
    expect(asked).toEqual([first, second])
  })

  test('of which the first serves what is not signed, and says hello as ever: the next round is the second’s', async () => {
    const { world: made, first, second, asked } = await createTwo()
    await using world = made
    world.meddle = ({ path, headers }) => {
      if (path === '/agent/v1/hello') asked.push(String(headers.host))
      return headers.host === first && path.includes('/blobs/') ? { body: Buffer.from('rotten') } : undefined
    }
    const { lines, started } = await world.boot({ rounds: 2 })
    expect(failuresOf(lines)).toEqual(['blob-truncated'])
    expect(started).toBe(true)
    expect(asked).toEqual([first, second])
  })

  test('of which the first waits for a person: the second is asked after a while, and that is no failure', async () => {
    const { world: made, first, second, asked } = await createTwo()
    await using world = made
    world.policy({ onFailure: { attempts: 1, fallback: 'power-off' } })
    world.meddle = ({ path, headers }) => {
      if (path === '/agent/v1/hello') asked.push(String(headers.host))
      return undefined
    }
    world.changePlanReply = (reply) =>
      asked.at(-1) === first ? { status: 'wait', reason: 'nobody approved it', retrySeconds: 5 } : reply
    const { host, lines, started } = await world.boot({ rounds: 2 })
    expect(started).toBe(true)
    expect(asked).toEqual([first, second])
    expect(failuresOf(lines)).toEqual([])
    expect(lines).toContainEqual(expect.stringContaining('asking the other servers'))
    const waitedMs = host.slept.reduce((sum, delayMs) => sum + delayMs, 0)
    expect(waitedMs).toBeGreaterThanOrEqual(295_000)
    expect(waitedMs).toBeLessThan(320_000)
  }, 20_000)

  test('but with one alone the machine waits there, in one session, for as long as it takes', async () => {
    const { world: made, first } = await createTwo()
    await using world = made
    world.config = { ...world.config, servers: [`https://${first}`] }
    world.changeReply = (reply) => reply
    world.changePlanReply = (reply, count) =>
      count <= 3 ? { status: 'wait', reason: 'nobody approved it', retrySeconds: 300 } : reply
    expect((await world.boot()).started).toBe(true)
    expect(world.hellos).toHaveLength(1)
  })
})
