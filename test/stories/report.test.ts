/** The booted system's report: who may say `joined`, how often, and for how long. */
import { expect, test } from 'vitest'
import type { EventView } from '../../src/http/admin-boots.ts'
import {
  type AgentClient,
  aMachine,
  createAgentClient,
  json,
  planOf,
  report,
  reportFileOf,
} from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

const minuteMs = 60_000

async function aFleet() {
  const clock = { ms: Date.now() }
  const server = await startServer({ now: () => new Date(clock.ms) })
  await publishTiny(server, 'hello/1.0.0')
  const profile = { name: 'all', selector: {}, image: { name: 'hello', channel: 'stable' } }
  await server.api.call({ method: 'PUT', path: '/profiles/all', body: profile })
  return { server, clock }
}

async function bootOf(client: ReturnType<typeof createAgentClient>, mac: string) {
  const session = await client.boot(aMachine(mac))
  const { boot, token, url, pin } = reportFileOf(planOf(await session.plan()))
  return { boot, token, url, pin }
}

const outcomeOf = async ({ api }: TestServer, boot: string) =>
  (await api.call<{ outcome?: string }>({ method: 'GET', path: `/boots/${boot}` })).outcome

async function refusals({ api }: TestServer, boot: string): Promise<EventView[]> {
  const { items } = await api.call<{ items: EventView[] }>({
    method: 'GET',
    path: '/events',
    query: { boot },
  })
  return items.filter(({ kind }) => kind === 'report-refused')
}

const say = async (client: AgentClient, boot: string, token: string) =>
  (await report(client, token, { boot, status: 'joined' })).status

test('the right token makes a boot joined, and may say so again for ten minutes, but not for eleven', async () => {
  const { server, clock } = await aFleet()
  await using _ = server
  using client = createAgentClient({ port: server.running.ports.agent })
  const { boot, token, url, pin } = await bootOf(client, '52:54:00:00:00:01')
  expect(url).toBe(`https://127.0.0.1:${server.running.ports.agent}/agent/v1/report`)
  expect(pin).toBe(server.running.tls.pin)

  expect(await outcomeOf(server, boot)).toBeUndefined()
  expect(await say(client, boot, token)).toBe(204)
  expect(await outcomeOf(server, boot)).toBe('joined')
  clock.ms += 9 * minuteMs
  expect(await say(client, boot, token)).toBe(204)
  // From the first time on: repeating does not lengthen it.
  clock.ms += 2 * minuteMs
  expect(await say(client, boot, token)).toBe(403)
  expect(await outcomeOf(server, boot)).toBe('joined')
  expect(await refusals(server, boot)).toHaveLength(1)
})

test("another boot's token is refused, with an event that says from where and does not repeat it", async () => {
  const { server } = await aFleet()
  await using _ = server
  using client = createAgentClient({ port: server.running.ports.agent })
  using stranger = createAgentClient({ port: server.running.ports.agent, from: '127.0.0.9' })
  const [mine, other] = [await bootOf(client, '52:54:00:00:00:01'), await bootOf(client, '52:54:00:00:00:02')]
  expect(mine.token).not.toBe(other.token)
  expect(await say(stranger, mine.boot, other.token)).toBe(403)
  expect(await outcomeOf(server, mine.boot)).toBeUndefined()
  expect(await outcomeOf(server, other.boot)).toBeUndefined()
  const events = await refusals(server, mine.boot)
  expect(events).toMatchObject([{ assurance: 'claimed', data: { address: '127.0.0.9' } }])
  expect(JSON.stringify(events)).not.toContain(other.token)
  // The right one still works.
  expect(await say(client, mine.boot, mine.token)).toBe(204)
})

test('no token, half a token, a token in the URL or of another scheme: refused, whatever the boot', async () => {
  const { server } = await aFleet()
  await using _ = server
  using client = createAgentClient({ port: server.running.ports.agent })
  const { boot, token } = await bootOf(client, '52:54:00:00:00:01')
  const body = Buffer.from(JSON.stringify({ boot, status: 'joined' }))
  for (const headers of [
    {},
    { authorization: `Bearer ${token.slice(0, -1)}` },
    { authorization: `Bearer ${token}x` },
    { authorization: `Basic ${token}` },
    { authorization: token },
  ] as Record<string, string>[]) {
    const reply = await client.post(`/agent/v1/report?token=${token}`, body, headers)
    expect(reply.status, JSON.stringify(headers)).toBe(403)
    expect(() => json(reply)).toThrow(expect.objectContaining({ code: 'report-refused' }))
  }
  expect(await say(client, 'b-aaaaaaaaaaaaaaaa', token)).toBe(403)
  expect(await outcomeOf(server, boot)).toBeUndefined()
})

test('a report survives a restart of the server, because the token is computed and not stored', async () => {
  const { server } = await aFleet()
  const { data } = server
  using client = createAgentClient({ port: server.running.ports.agent })
  const { boot, token } = await bootOf(client, '52:54:00:00:00:01')
  await server.running[Symbol.asyncDispose]()
  await using again = await startServer({ data })
  using after = createAgentClient({ port: again.running.ports.agent })
  expect(await say(after, boot, token)).toBe(204)
  expect(await outcomeOf(again, boot)).toBe('joined')
  await server[Symbol.asyncDispose]()
})
