/** Every exchange that a released agent ever had, played against today's server. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventsRequest, reportRequest } from '../../src/protocol/events.ts'
import { helloRequest } from '../../src/protocol/hello.ts'
import { createWorld, helloProfile, kinds } from './world.ts'

type Recorded = {
  method: string
  path: string
  headers: Record<string, string>
  body: string
  helloDigest?: string
}

const folder = join(import.meta.dirname, '../vectors/agent')

/** The 10 bytes that an id was made of, so that the server draws the same id again. */
function bytesOf(id: string): Buffer {
  let bits = 0n
  for (const letter of id.slice(2))
    bits = (bits << 5n) | BigInt('abcdefghijklmnopqrstuvwxyz234567'.indexOf(letter))
  return Buffer.from(bits.toString(16).padStart(20, '0'), 'hex')
}

function load(version: string) {
  const names = readdirSync(join(folder, version)).sort()
  const files = names.map((name) => JSON.parse(readFileSync(join(folder, version, name), 'utf8')))
  const [server, hello, ...requests] = files as [{ machine: string; boot: string }, Recorded, ...Recorded[]]
  return { server, hello, requests }
}

async function begin(version: string) {
  const { server, hello, requests } = load(version)
  const draws = [bytesOf(server.machine), bytesOf(server.boot)]
  const world = await createWorld({ random: () => draws.shift() as Buffer })
  await world.machines.profiles.put(helloProfile)
  const request = helloRequest.parse(JSON.parse(hello.body))
  const answer = await world.machines.hello(request, {
    address: '192.0.2.10',
    rawBytes: Buffer.from(hello.body),
  })
  return { world, answer, server, hello, requests }
}

const toRequest = (recorded: Recorded) => ({ ...recorded, body: Buffer.from(recorded.body) })

test('the first agent (protocol 1) boots and joins against this server', async () => {
  const { world, answer, server, hello, requests } = await begin('v1')
  await using _ = world
  const { machines } = world
  expect(answer.machine.id).toBe(server.machine)
  expect(answer.boot).toMatchObject({
    id: server.boot,
    helloDigest: hello.helloDigest,
    agentOrigin: 'network',
  })
  expect(answer.machine).toMatchObject({ serial: 'czc1234xyz', uuid: '4c4c4544-0043-3510-8052-b4c04f4a4d32' })

  for (const recorded of requests) {
    if (recorded.path === '/agent/v1/report') {
      const body = reportRequest.parse(JSON.parse(recorded.body))
      const token = (recorded.headers['authorization'] as string).replace('Bearer ', '')
      expect(await machines.report({ ...body, token, address: '192.0.2.10' })).toMatchObject({
        outcome: 'joined',
      })
      continue
    }
    const session = await machines.authenticate(toRequest(recorded))
    if (recorded.path.endsWith('/plan')) {
      const { eligibility } = await machines.eligibility(session.boot.id)
      expect(eligibility.status).toBe(
        session.boot.plan === undefined && recorded === requests[0] ? 'wait' : 'boot',
      )
      if (eligibility.status === 'wait') await machines.approve(server.machine, 'anna')
    } else await machines.recordAgentEvents(session, eventsRequest.parse(JSON.parse(recorded.body)))
  }
  const boot = await machines.boot(server.boot)
  expect(boot).toMatchObject({ outcome: 'joined', step: 'report' })
  expect(boot.console).toContain('blob-digest')
  expect(await kinds(world, { bootId: server.boot })).toEqual([
    'hello',
    'step',
    'step',
    'step',
    'step',
    'step',
    'outcome',
    'step',
    'step',
    'outcome',
  ])
})

test('a recorded request counts once, and not with one byte changed', async () => {
  const { world, requests } = await begin('v1')
  await using _ = world
  const request = toRequest(requests[1] as Recorded)
  expect((await world.machines.authenticate(request)).retry).toBe(false)
  expect((await world.machines.authenticate(request)).retry).toBe(true)
  for (const changed of [
    { ...request, body: Buffer.from('{ }') },
    { ...request, path: request.path.replace('/plan', '/events') },
    { ...request, method: 'PUT' },
    { ...request, headers: { ...request.headers, 'muster-sequence': '9' } },
    toRequest(requests[0] as Recorded),
  ])
    await expect(world.machines.authenticate(changed)).rejects.toMatchObject({ code: 'session-invalid' })
})
