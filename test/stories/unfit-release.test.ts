/** A release that is signed for other hardware or a newer agent: the machine is told so, and no plan promises what its agent would refuse. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { EventView } from '../../src/http/admin-boots.ts'
import type { MachineView, WhyView } from '../../src/http/admin-machines.ts'
import { muster } from '../cli/command-line.ts'
import { aMachine, createAgentClient, type Session } from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

const mac = '52:54:00:12:34:57'

let data: string
let server: TestServer
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-unfit-'))
  server = await startServer({ data })
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  await rm(data, { recursive: true, force: true })
})

const put = (path: string, body: unknown) => server.api.call({ method: 'PUT', path: `/${path}`, body })
const cli = async (...argv: string[]) => {
  const { code, out, err } = await muster([...argv, '--data', data])
  expect([code, err], argv.join(' ')).toEqual([0, ''])
  return out
}
async function asks(body: (session: Session) => Promise<void>): Promise<void> {
  using agent = createAgentClient({ port: server.running.ports.agent })
  const session = await agent.boot(aMachine(mac))
  await cli('approve', mac)
  await body(session)
}
const why = async () => JSON.parse(await cli('machine', 'why', mac, '--json')) as WhyView
const noPlans = async () => {
  const items = JSON.parse(await cli('events', '--machine', mac, '--json')) as EventView[]
  return items.filter(({ kind }) => kind === 'no-plan')
}

test.each([
  [
    'of a newer agent',
    { minAgent: '9.0.0' },
    'edge/2.0/amd64 is not for this machine: it needs agent 9.0.0 or newer, this one is 0.1.0. Start it with a newer agent',
  ],
  [
    'of other hardware',
    { hardwareIds: ['acme,box'] },
    'edge/2.0/amd64 is not for this machine: it is for the hardware acme,box, this machine is QEMU,Standard PC.',
  ],
])(
  'a release %s is no plan: the machine waits, and why, show, machines and its timeline say why',
  async (_, only, reason) => {
    await publishTiny(server, 'edge/1.0')
    await publishTiny(server, 'edge/2.0', only)
    await put('profiles/edge', { image: { name: 'edge', channel: 'stable' } })
    await asks(async (session) => {
      expect(await session.plan()).toMatchObject({ status: 'wait', reason: expect.stringContaining(reason) })
      expect(await why()).toMatchObject({
        eligibility: {
          status: 'wait',
          code: 'policy-refused',
          reason: expect.stringContaining(reason),
          profile: 'edge',
        },
        release: { code: 'policy-refused' },
      })
      const text = await cli('machine', 'why', mac)
      expect(text).toContain(`It waits (policy-refused): ${reason}`)
      expect(text).not.toContain('It boots by profile')
      expect(await cli('machine', 'show', mac)).toContain(reason)
      expect(await cli('machines')).toContain('policy refused')
      const items = JSON.parse(await cli('machines', '--json')) as MachineView[]
      expect(items.map(({ waitsFor }) => waitsFor)).toEqual(['policy refused'])
      expect(await noPlans()).toMatchObject([
        {
          message: expect.stringContaining(reason),
          data: { code: 'policy-refused', path: 'edge/2.0/amd64' },
        },
      ])

      // One that fits mends it, without another boot.
      await put('profiles/edge', { image: { name: 'edge', version: '1.0' } })
      expect(await session.plan()).toMatchObject({ status: 'boot' })
      expect(await why()).toMatchObject({
        eligibility: { status: 'boot' },
        release: { target: 'edge/1.0/amd64' },
      })
      expect(await cli('machines')).not.toContain('policy refused')
    })
  },
)

test('what fits is judged by the last hello, not by what the record kept of an earlier one', async () => {
  await publishTiny(server, 'edge/1.0', { minAgent: '0.1.1' })
  await put('profiles/edge', { image: { name: 'edge', channel: 'stable' } })
  await asks(async () => {
    expect(await cli('machines')).toContain('policy refused')
  })
  using agent = createAgentClient({ port: server.running.ports.agent })
  const { key, request } = aMachine(mac)
  const session = await agent.boot({
    key,
    request: { ...request, agent: { ...request.agent, version: '0.2.0' } },
  })
  expect(await cli('machines')).not.toContain('policy refused')
  expect(await why()).toMatchObject({ eligibility: { status: 'boot' } })
  expect(await session.plan()).toMatchObject({ status: 'boot' })
})
