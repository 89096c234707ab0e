/** Every exchange that a released agent ever had, played against today's server. */
import { expect, test } from 'vitest'
import { eventsRequest, reportRequest } from '../../src/protocol/events.ts'
import { helloRequest } from '../../src/protocol/hello.ts'
import { bytesOfId, type Recorded, readRecorded } from '../support/recorded.ts'
import { createWorld, helloProfile, kinds } from './world.ts'

async function begin(version: string) {
  const { server, requests } = readRecorded(version)
  const draws = [server.machine, ...server.boots].map(bytesOfId)
  const reportSecret = Buffer.from(server.reportSecret, 'hex')
  const world = await createWorld({ random: () => draws.shift() as Buffer, reportSecret })
  await world.machines.profiles.put(helloProfile)
  return { world, server, requests }
}

const toRequest = (recorded: Recorded) => ({ ...recorded, body: Buffer.from(recorded.body) })

test('the first agent (protocol 1) waits, is refused its content, comes again and joins against this server', async () => {
  const { world, server, requests } = await begin('v1')
  await using _ = world
  const { machines } = world
  for (const recorded of requests) {
    const body = JSON.parse(recorded.body)
    if (recorded.path === '/agent/v1/hello') {
      const from = { address: '192.0.2.10', rawBytes: Buffer.from(recorded.body) }
      const { machine, boot } = await machines.hello(helloRequest.parse(body), from)
      expect(machine).toMatchObject({ id: server.machine, uuid: '6d757374-6572-4b6f-8000-5254006d7502' })
      expect(server.boots).toContain(boot.id)
      expect(boot).toMatchObject({ helloDigest: recorded.helloDigest, agentOrigin: 'network' })
    } else if (recorded.path === '/agent/v1/report') {
      const token = (recorded.headers['authorization'] as string).replace('Bearer ', '')
      const report = { ...reportRequest.parse(body), token, address: '192.0.2.10' }
      expect(await machines.report(report)).toMatchObject({ outcome: 'joined' })
    } else {
      const session = await machines.authenticate(toRequest(recorded))
      if (recorded.path.endsWith('/events')) {
        await machines.recordAgentEvents(session, eventsRequest.parse(body))
        continue
      }
      const { eligibility, machine } = await machines.eligibility(session.boot.id)
      expect(eligibility.status).toBe(machine.enrolment === 'approved' ? 'boot' : 'wait')
      if (eligibility.status === 'wait') await machines.approve(server.machine, 'anna')
    }
  }
  const [refused, joined] = await Promise.all(server.boots.map((id) => machines.boot(id)))
  expect(refused).toMatchObject({ outcome: 'refused', step: 'blobs' })
  expect(refused?.console).toContain('muster: refused: blob-digest')
  expect(joined).toMatchObject({ outcome: 'joined', step: 'report' })
  const ofLast = await kinds(world, { bootId: joined?.id as string })
  expect([ofLast.at(0), ofLast.at(-1)]).toEqual(['hello', 'outcome'])
  expect(ofLast.filter((kind) => kind === 'step').length).toBeGreaterThan(10)
})

test('a recorded request counts once, and not with one byte changed', async () => {
  const { world, requests } = await begin('v1')
  await using _ = world
  const [hello, first, second] = requests as [Recorded, Recorded, Recorded]
  await world.machines.hello(helloRequest.parse(JSON.parse(hello.body)), {
    address: '192.0.2.10',
    rawBytes: Buffer.from(hello.body),
  })
  const request = toRequest(second)
  expect(request.path).toMatch(/\/plan$/)
  expect((await world.machines.authenticate(request)).retry).toBe(false)
  expect((await world.machines.authenticate(request)).retry).toBe(true)
  for (const changed of [
    { ...request, body: Buffer.from('{ }') },
    { ...request, path: request.path.replace('/plan', '/events') },
    { ...request, method: 'PUT' },
    { ...request, headers: { ...request.headers, 'muster-sequence': '9' } },
    toRequest(first),
  ])
    await expect(world.machines.authenticate(changed)).rejects.toMatchObject({ code: 'session-invalid' })
})
