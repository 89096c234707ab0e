/** What a machine lives through: servers that go away, mirrors that lie, rounds that fail. */

import type { ServerResponse } from 'node:http'
import { basename } from 'node:path'
import { describe, expect, test } from 'vitest'
import { backoffMs } from '../../src/agent/retry.ts'
import { failureOf, World } from './world.ts'

const initrd = Buffer.from(Array.from({ length: 500_000 }, (_, index) => index % 251))

async function createWorld(): Promise<{ world: World; initrdPath: string }> {
  const world = new World()
  world.release({ layers: { initrds: [initrd] } })
  await world.listen()
  const initrdPath = [...world.files].find(
    ([path, bytes]) => path.includes('/blobs/') && bytes === initrd,
  )![0]
  return { world, initrdPath }
}

function breakOff(
  response: ServerResponse,
  bytes: Uint8Array,
  headers: Record<string, string | number>,
): 'taken' {
  response.writeHead(headers['content-range'] === undefined ? 200 : 206, headers)
  response.write(bytes, () => setTimeout(() => response.destroy(), 50))
  return 'taken'
}

describe('a server that goes away in the middle of a download', () => {
  test('is taken up again where it ended, and no byte is hashed twice', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    const ranges: unknown[] = []
    world.meddle = ({ path, count, headers }, response) => {
      if (path !== initrdPath) return undefined
      ranges.push(headers.range)
      if (count === 1) return breakOff(response, initrd.subarray(0, 200_000), { 'content-length': 500_000 })
      if (count > 3) return undefined
      response.destroy()
      return 'taken'
    }
    const { started } = await world.boot()
    expect(started).toBe(true)
    expect(world.read('loaded-initrd').subarray(-500_000)).toEqual(initrd)
    expect(ranges).toEqual([undefined, 'bytes=200000-', 'bytes=200000-', 'bytes=200000-'])
  })

  test('is given up after tens of seconds without a byte', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    world.meddle = ({ path, count }, response) => {
      if (path !== initrdPath) return undefined
      if (count === 1) return breakOff(response, initrd.subarray(0, 1000), { 'content-length': 500_000 })
      response.destroy()
      return 'taken'
    }
    const { code, host } = await world.boot({ limits: { idleAttempts: 8 } })
    expect(code).toBe('blob-unavailable')
    const waitedMs = host.slept.reduce((sum, delayMs) => sum + delayMs, 0)
    expect(waitedMs).toBeGreaterThan(20_000)
    expect(waitedMs).toBeLessThan(120_000)
  })

  test('and knows no ranges: what is there already is skipped', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    world.meddle = ({ path, count }, response) => {
      if (path !== initrdPath) return undefined
      if (count === 1) return breakOff(response, initrd.subarray(0, 200_000), { 'content-length': 500_000 })
      return { body: initrd }
    }
    const { started } = await world.boot()
    expect(started).toBe(true)
    expect(world.read('loaded-initrd').subarray(-500_000)).toEqual(initrd)
  })

  test('and comes back with other content: blob-digest', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    world.meddle = ({ path, count }, response) => {
      if (path !== initrdPath) return undefined
      if (count === 1) return breakOff(response, initrd.subarray(0, 200_000), { 'content-length': 500_000 })
      const headers = { 'content-range': 'bytes 200000-499999/500000' }
      return { status: 206, body: Buffer.alloc(300_000), headers }
    }
    expect((await world.boot()).code).toBe('blob-digest')
  })
})

describe('mirrors', () => {
  test('are tried in order: the second makes good what the first one lies about', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    const honest = (path: string) => path.replace('/tuf/honest', '/tuf/main')
    world.changeReply = (reply) => ({
      ...reply,
      mirrors: [
        { kind: 'static', url: `${world.url}/tuf/main` },
        { kind: 'static', url: `${world.url}/tuf/honest` },
      ],
    })
    world.meddle = ({ path }) => {
      if (path === initrdPath) return { body: Buffer.alloc(500_000) }
      const bytes = world.files.get(honest(path))
      return path.startsWith('/tuf/honest') && bytes !== undefined ? { body: bytes } : undefined
    }
    const { started } = await world.boot()
    expect(started).toBe(true)
    expect(world.read('loaded-initrd').subarray(-500_000)).toEqual(initrd)
  })

  test('of which the first drips hold the boot no longer than it takes to see that', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    world.changeReply = (reply) => ({
      ...reply,
      mirrors: [
        { kind: 'static', url: `${world.url}/tuf/main` },
        { kind: 'static', url: `${world.url}/tuf/good` },
      ],
    })
    world.meddle = ({ path }, response) => {
      const bytes = world.files.get(path.replace('/tuf/good', '/tuf/main'))
      if (path.startsWith('/tuf/good') && bytes !== undefined) return { body: bytes }
      if (path !== initrdPath) return undefined
      response.writeHead(200, { 'content-length': initrd.length })
      let at = 0
      const drip = setInterval(() => {
        response.write(initrd.subarray(at, at + 1000))
        at += 1000
      }, 50)
      response.on('close', () => clearInterval(drip))
      return 'taken'
    }
    const { started } = await world.boot({ limits: { mirrorSeconds: 1 } })
    expect(started).toBe(true)
    expect(world.read('loaded-initrd').subarray(-500_000)).toEqual(initrd)
  })

  test('of which the first replays old metadata cost a try, not the boot', async () => {
    const { world: made } = await createWorld()
    await using world = made
    const old = new Map(world.files)
    world.sign()
    world.changeReply = (reply) => ({
      ...reply,
      mirrors: [
        { kind: 'static', url: `${world.url}/tuf/old` },
        { kind: 'static', url: `${world.url}/tuf/main` },
      ],
    })
    world.meddle = ({ path }) => {
      const bytes = old.get(path.replace('/tuf/old', '/tuf/main'))
      return path.startsWith('/tuf/old/metadata') && bytes !== undefined ? { body: bytes } : undefined
    }
    expect((await world.boot()).started).toBe(true)
  })

  test('may be registries: manifest and blobs by the distribution API', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.changeReply = (reply) => ({
      ...reply,
      mirrors: [
        { kind: 'oci', url: `${world.url}/v2/hello` },
        { kind: 'static', url: `${world.url}/tuf/main` },
      ],
    })
    world.meddle = ({ path }) => {
      const hex = /^\/v2\/hello\/(?:manifests|blobs)\/sha256:([0-9a-f]{64})$/.exec(path)?.[1]
      const bytes = world.files.get(`/tuf/main/blobs/sha256/${hex}`)
      if (hex !== undefined) return bytes === undefined ? { status: 404 } : { body: bytes }
      return path.includes('/tuf/main/blobs/') ? { status: 500 } : undefined
    }
    expect((await world.boot()).started).toBe(true)
    expect(world.requests.some((path) => path.includes('/v2/hello/manifests/sha256:'))).toBe(true)
  })

  test('that are none of the server come from the agent’s own configuration', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.changeReply = (reply) => ({ ...reply, mirrors: [] })
    world.config = { ...world.config, mirrors: [{ kind: 'static', url: `${world.url}/tuf/main` }] }
    expect((await world.boot()).started).toBe(true)
  })
})

describe('rounds', () => {
  test('each begins with a new hello: another key, another nonce', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.changePlan = (plan) => ({ ...plan, machine: 'm-bbbbbbbbbbbbbbbb' })
    const { lines, started, host } = await world.boot({ rounds: 3 })
    expect(started).toBe(false)
    expect(lines.filter((line) => failureOf([line]) === 'plan-machine')).toHaveLength(3)
    expect(new Set(world.hellos.map(({ nonce }) => nonce)).size).toBe(3)
    expect(new Set(world.hellos.map(({ sessionKey }) => sessionKey)).size).toBe(3)
    expect(host.slept).toEqual(expect.arrayContaining([3000, 6000]))
  })

  test('a fault that passes costs one round', async () => {
    const { world: made, initrdPath } = await createWorld()
    await using world = made
    world.meddle = ({ path, count }) =>
      path === initrdPath && count === 1 ? { body: Buffer.alloc(500_000) } : undefined
    const { lines, started } = await world.boot({ rounds: 2 })
    expect(failureOf(lines.slice(0, lines.findIndex((line) => line.includes('trying again')) + 1))).toBe(
      'blob-digest',
    )
    expect(started).toBe(true)
  })

  test('what the server did not hear while it was away, it hears in the next round', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.meddle = ({ path, count }) =>
      path === '/agent/v1/hello' && count <= 2 ? { status: 503 } : undefined
    await world.boot({ rounds: 2 })
    expect(world.events.find(({ status }) => status === 'failed')).toMatchObject({
      step: 'hello',
      code: 'server-refused',
    })
  })

  test.each([
    { fallback: 'local-disk', ending: 'restart' },
    { fallback: 'power-off', ending: 'power-off' },
    { fallback: 'wait', ending: undefined },
  ] as const)('after the last of them the policy "$fallback" decides', async ({ fallback, ending }) => {
    const { world: made } = await createWorld()
    await using world = made
    world.policy({ onFailure: { attempts: 2, fallback } })
    world.changePlan = (plan) => ({ ...plan, machine: 'm-bbbbbbbbbbbbbbbb' })
    const found = await world.boot({ rounds: 3 })
    expect(found.ending).toBe(ending)
    expect(world.hellos).toHaveLength(ending === undefined ? 3 : 2)
  })

  test('a wrong configuration is said, and waits before it restarts', async () => {
    await using world = new World()
    const { ending, code } = await world.boot()
    expect(code).toBe('agent-config-invalid')
    expect(ending).toBe('restart')
  })

  test('events that cannot be sent never stop a boot', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.meddle = ({ path }) => (path.endsWith('/events') ? { status: 500 } : undefined)
    expect((await world.boot()).started).toBe(true)
  })

  test('backoff doubles up to its bound, and chance takes off at most half', () => {
    const bounds = { firstMs: 500, mostMs: 8000 }
    expect([1, 2, 3, 4, 5, 6, 99].map((attempt) => backoffMs(attempt, bounds, () => 0))).toEqual([
      500, 1000, 2000, 4000, 8000, 8000, 8000,
    ])
    expect(backoffMs(5, bounds, () => 0.999)).toBe(4004)
  })
})

describe('the console', () => {
  const shownAt = async (active: string) => {
    const { world: made } = await createWorld()
    await using world = made
    world.write('sys/class/tty/console/active', active)
    world.changePlan = (plan) => ({ ...plan, machine: 'm-bbbbbbbbbbbbbbbb' })
    const { host, lines } = await world.boot()
    const said = lines.filter((line) => line.startsWith('muster: '))
    expect(said.some((line) => line.startsWith('muster: hello: '))).toBe(true)
    expect(failureOf(said)).toBeDefined()
    return { shown: new Map([...host.terminalLines].map(([path, all]) => [basename(path), all])), said }
  }

  test.each([
    ['a PC', 'tty0 ttyS0\n', ['tty0']],
    ['an arm64 board of which the last console= does not exist', 'ttyAMA0 tty0\n', ['ttyAMA0']],
    ['a board whose device tree names its port, and no console= does', 'tty0 ttyS2\n', ['tty0']],
    ['a server whose SPCR names its port: the screen is no console', 'ttyAMA0\n', ['tty0']],
    ['a machine with three', 'hvc0 tty0 ttyAMA10\n', ['hvc0', 'tty0']],
  ])('shows every line on every console once: %s', async (_, active, besides) => {
    const { said, shown } = await shownAt(active)
    expect([...shown.keys()]).toEqual(besides)
    for (const lines of shown.values()) expect(lines).toEqual(said)
  })

  test('cannot be written to by a stranger: line ends and escapes become spaces', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.changePlanReply = () => ({
      status: 'skip',
      reason: 'x\nmuster: refused: blob-digest: forged\u001b[2J',
    })
    const { lines, code } = await world.boot()
    expect(code).toBeUndefined()
    expect(lines.at(-1)).toContain('skip: x muster: refused: blob-digest: forged [2J')
  })

  test('is kept in a file of bounded size', async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.changePlan = (plan) => ({ ...plan, because: Array(16).fill('b'.repeat(290)) })
    world.program('kexec', 'echo no >&2; exit 1')
    await world.boot({ rounds: 4, limits: { consoleBytes: 4096 } })
    const log = world.read('run/console.log')
    expect(log.length).toBeLessThanOrEqual(8192)
    expect(log.toString()).toContain('muster: failed: kexec-failed')
    expect(world.consoles.every((text) => text.length <= 4096)).toBe(true)
  })
})

describe('a server that says when to come back', () => {
  const busyTwice = (retryAfter: string) => async () => {
    const { world: made } = await createWorld()
    await using world = made
    world.meddle = ({ path, count }) =>
      path.endsWith('/hello') && count <= 2
        ? {
            status: 429,
            headers: { 'retry-after': retryAfter },
            body: Buffer.from('{"code":"limit-reached"}'),
          }
        : undefined
    const { started, host } = await world.boot({ limits: { requestAttempts: 3 } })
    expect(started).toBe(true)
    return host.slept
  }

  test('is asked again no sooner', async () => {
    const slept = await busyTwice('20')()
    expect(slept.filter((ms) => ms >= 20_000 && ms <= 25_000)).toHaveLength(2)
  })

  test('holds nobody for longer than a minute or so, and a date it names is not read', async () => {
    expect((await busyTwice('900000')()).filter((ms) => ms >= 60_000 && ms <= 75_000)).toHaveLength(2)
    expect(Math.max(...(await busyTwice('Fri, 31 Dec 2100 23:59:59 GMT')()))).toBeLessThan(10_000)
  })
})

describe('a mirror that does not do', () => {
  /** What the first of two mirrors was asked for, in the order of asking; `refuses` says for which paths it is away. */
  async function askedOfFirst(refuses: (path: string) => boolean) {
    const { world: made } = await createWorld()
    await using world = made
    world.changeReply = (reply) => ({
      ...reply,
      mirrors: [{ kind: 'static', url: `${world.url}/first` }, ...reply.mirrors],
    })
    world.meddle = ({ path }) => {
      if (!path.startsWith('/first/')) return undefined
      const body = world.files.get(path.replace('/first/', '/tuf/main/'))
      return refuses(path) ? { status: 503 } : body === undefined ? { status: 404 } : { body }
    }
    const { started } = await world.boot()
    expect(started).toBe(true)
    const asked = world.requests.filter((path) => path.startsWith('/first/'))
    return { asked: asked.map((path) => path.replace('/first/', '')), all: world.requests }
  }

  test('is waited for once in a boot, and not again for each file', async () => {
    const { asked, all } = await askedOfFirst(() => true)
    expect(asked.length).toBeGreaterThan(1)
    expect([...new Set(asked)]).toEqual(['metadata/2.root.json'])
    expect(new Set(all.filter((path) => path.includes('/tuf/main/blobs/'))).size).toBeGreaterThan(1)
  })

  test('that has metadata and sends no blobs is waited for at the first blob alone', async () => {
    const { asked } = await askedOfFirst((path) => path.includes('/blobs/'))
    expect(asked).toContain('metadata/timestamp.json')
    expect(new Set(asked.filter((path) => path.startsWith('blobs/'))).size).toBe(1)
  })
})
