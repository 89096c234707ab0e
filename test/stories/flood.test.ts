/**
 * Hellos without end over TLS while one real machine boots. `MUSTER_FLOOD=100000 vitest run test/stories/flood` is a long one;
 * test/machines/flood.test.ts shows what a million of them leave in the database.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/agent/limits.ts'
import { backoffMs } from '../../src/agent/retry.ts'
import {
  AgentRefused,
  aMachine,
  createAgentClient,
  json,
  planOf,
  report,
  reportFileOf,
  type Session,
} from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

const hellos = Number(process.env['MUSTER_FLOOD'] ?? 2000)
const timeout = 60_000 + hellos * 20

type Flood = { answers: Map<string, number>; said: number; over: boolean; done: Promise<void> }

/** Random machines, from these addresses in turn, each as fast as it is answered. */
function flood(server: TestServer, addresses: string[]): Flood & Disposable {
  const answers = new Map<string, number>()
  const state = { answers, said: 0, over: false, stop: false }
  const clients = addresses.map((from) => createAgentClient({ port: server.running.ports.agent, from }))
  const random = () => Math.floor(Math.random() * 256)
  const hex = () => random().toString(16).padStart(2, '0')
  const worker = async (client: (typeof clients)[number]) => {
    while (!state.stop && state.said < hellos) {
      state.said += 1
      const { request } = aMachine(`02:${hex()}:${hex()}:${hex()}:${hex()}:${hex()}`)
      const reply = await client
        .post('/agent/v1/hello', Buffer.from(JSON.stringify(request)))
        .catch(() => undefined)
      const answer = reply === undefined ? 'no answer' : String(reply.status)
      answers.set(answer, (answers.get(answer) ?? 0) + 1)
    }
  }
  const done = Promise.all(clients.map(worker)).then(() => {
    state.over = true
  })
  return Object.assign(state, {
    done,
    [Symbol.dispose]() {
      state.stop = true
      for (const client of clients) client[Symbol.dispose]()
    },
  })
}

async function aServer(settings: Record<string, string> = {}): Promise<TestServer> {
  const server = await startServer({ settings })
  await publishTiny(server, 'hello/1.0.0')
  const profile = { name: 'all', selector: {}, image: { name: 'hello', channel: 'stable' } }
  await server.api.call({ method: 'PUT', path: '/profiles/all', body: profile })
  return server
}

/** As the agent does: the same request again after a while, when the server is too busy; each refusal is counted. */
async function patiently<Value>(work: () => Promise<Value>, refusals: AgentRefused[] = []): Promise<Value> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof AgentRefused) || error.status !== 429) throw error
      refusals.push(error)
      const bounds = { firstMs: defaultLimits.backoffFirstMs, mostMs: defaultLimits.backoffMostMs }
      await sleep(backoffMs(attempt, bounds, Math.random))
    }
  }
}

/** @returns how often it was told to come back */
async function bootToTheEnd(
  server: TestServer,
  client: ReturnType<typeof createAgentClient>,
  session: Session,
): Promise<number> {
  const { boot } = session.reply
  const refusals: AgentRefused[] = []
  const { token } = reportFileOf(planOf(await patiently(() => session.plan(), refusals)))
  for (const step of ['metadata', 'manifest', 'blobs', 'kexec'] as const)
    await patiently(() => session.events({ events: [{ step, status: 'done', uptimeMs: 1 }] }), refusals)
  await patiently(async () => json(await report(client, token, { boot, status: 'joined' })), refusals)
  expect(await server.api.call({ method: 'GET', path: `/boots/${boot}` })).toMatchObject({
    outcome: 'joined',
  })
  return refusals.length
}

test(`a machine that is known joins while ${hellos} strangers say hello from everywhere`, {
  timeout,
}, async () => {
  await using server = await aServer()
  using client = createAgentClient({ port: server.running.ports.agent })
  const machine = '52:54:00:00:00:01'
  await client.boot(aMachine(machine))
  using strangers = flood(
    server,
    Array.from({ length: 20 }, (_, index) => `127.1.${index}.1`),
  )
  await sleep(200)
  const refusals: AgentRefused[] = []
  const session = await patiently(() => client.boot(aMachine(machine)), refusals)
  expect(await bootToTheEnd(server, client, session)).toBe(0)
  expect(strangers.over, 'it joined in the middle of the flood').toBe(false)
  expect(refusals).toEqual([])
  await strangers.done
  // All of them were answered: let in or told to come back.
  expect([...strangers.answers.keys()].sort()).toEqual(['200', '429'])
  const { machines } = await server.api.call<{ machines: Record<string, number> }>({
    method: 'GET',
    path: '/status',
  })
  expect(machines['discovered'] ?? 0).toBeLessThanOrEqual(1000)
  // The dashboard's way in is as open as ever.
  expect((await fetch(`${server.firmware}/boot/autoexec.ipxe`)).status).toBe(200)
})

test('a boot that is open goes on to its end while somebody behind the same address says hello without end', {
  timeout,
}, async () => {
  await using server = await aServer()
  using client = createAgentClient({ port: server.running.ports.agent })
  const session = await client.boot(aMachine('52:54:00:00:00:02'))
  await session.plan()
  using neighbour = flood(server, ['127.0.0.1', '127.0.0.1', '127.0.0.1'])
  // Until the neighbour has used up what the address may say.
  while (neighbour.said < Math.min(hellos / 2, 900)) await sleep(20)
  expect(await bootToTheEnd(server, client, session)).toBe(0)
})

test('a machine behind the address of a flood is told to come back, and joins when the flood is over', {
  timeout: timeout + 120_000,
}, async () => {
  // The plane's own count is of whole minutes; what the machines' room counts flows back by the second.
  await using server = await aServer({ 'agent.requestsPerMinuteMax': '100000' })
  using client = createAgentClient({ port: server.running.ports.agent })
  using neighbour = flood(server, ['127.0.0.1', '127.0.0.1'])
  while ((neighbour.answers.get('429') ?? 0) < 50) await sleep(20)
  const refusals: AgentRefused[] = []
  const session = await patiently(() => client.boot(aMachine('52:54:00:00:00:03')), refusals)
  expect(refusals.length).toBeGreaterThan(0)
  for (const refusal of refusals) {
    expect(refusal.code).toBe('limit-reached')
    expect(Number(refusal.headers['retry-after'])).toBeGreaterThan(0)
  }
  await bootToTheEnd(server, client, session)
  expect([...neighbour.answers.keys()].sort()).toEqual(['200', '429'])
})
