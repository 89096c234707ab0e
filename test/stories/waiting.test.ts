/** A machine that cannot have a plan, and what a person sees of it: the same reason at the rack, in `why`, in `show` and in the timeline. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { EventView } from '../../src/http/admin-boots.ts'
import type { WhyView } from '../../src/http/admin-machines.ts'
import { muster } from '../cli/command-line.ts'
import { aMachine, createAgentClient, planOf, type Session } from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

const mac = '52:54:00:12:34:56'
const token = 'K10d2f1::node:abc123'
const reason = "lacks the labels 'rack', 'row', needed by 'k3s.yaml', 'row' of the cluster 'factory'"
const command = /'muster machine label (\S+) rack=VALUE row=VALUE' sets them/

let data: string
let server: TestServer
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-waiting-'))
  server = await startServer({ data })
  await publishTiny(server, 'edge/1.0')
  await put('clusters/factory', {
    kind: 'static',
    files: [
      { name: 'k3s.yaml', template: 'token: {{secret.token}}\nrack: {{label.rack}}\n' },
      { name: 'row', format: 'text', template: '{{label.row}} {{label.rack}}\n' },
    ],
    secrets: { token: { value: token, allowUnattested: true } },
  })
  await put('profiles/edge', { image: { name: 'edge', version: '1.0' }, cluster: 'factory' })
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
const noPlans = async () => {
  const { items } = JSON.parse(`{"items":${await cli('events', '--machine', mac, '--json')}}`) as {
    items: EventView[]
  }
  return items.filter(({ kind }) => kind === 'no-plan')
}
async function boots<T>(body: (session: Session) => Promise<T>): Promise<T> {
  using agent = createAgentClient({ port: server.running.ports.agent })
  const session = await agent.boot(aMachine(mac))
  await cli('approve', mac)
  return await body(session)
}
const why = async () => JSON.parse(await cli('machine', 'why', mac, '--json')) as WhyView

test('a machine whose cluster wants labels that it has not waits, and why says which and the command that sets them', async () => {
  await boots(async (session) => {
    const reply = await session.plan()
    expect(reply).toMatchObject({ status: 'wait', reason: expect.stringContaining(reason) })
    expect(await why()).toMatchObject({
      eligibility: { status: 'wait', code: 'label-missing', reason: (reply as { reason: string }).reason },
      release: { target: 'edge/1.0/amd64' },
      join: { cluster: 'factory', code: 'label-missing' },
    })
    const text = await cli('machine', 'why', mac)
    expect(text).toContain(`It waits (label-missing): `)
    expect(text).toContain("As soon as that is mended it boots by profile 'edge':")
    expect(text.split(reason)).toHaveLength(2)
    expect(await cli('machine', 'show', mac)).toMatch(new RegExp(`waits +\\S+ ${reason}`))

    // Exactly what it says mends it.
    const [, name = ''] = command.exec(text) ?? []
    await cli('machine', 'label', name, 'rack=7', 'row=b')
    expect(await cli('machine', 'why', mac)).toContain("It joins cluster 'factory' by k3s.yaml, row.\n")
    expect(await why()).toMatchObject({ eligibility: { status: 'boot', profile: 'edge' } })
    expect(await cli('machine', 'show', mac)).not.toContain('waits')
    expect(planOf(await session.plan()).files.map(({ name }) => name)).toEqual([
      'report.json',
      'k3s.yaml',
      'row',
    ])
  })
  expect(await cli('machine', 'why', mac, '--json')).not.toContain(token)
})

test('its timeline says so once, however often it asks, says hello or the server starts anew, and again when it comes back', async () => {
  const asks = () => boots(async (session) => [await session.plan(), await session.plan()])
  await asks()
  await asks()
  const [first, ...more] = await noPlans()
  expect(more).toEqual([])
  expect(first).toMatchObject({
    assurance: 'server',
    bootId: expect.any(String),
    message: expect.stringContaining(reason),
    data: { code: 'label-missing', cluster: 'factory', labels: ['rack', 'row'] },
  })
  await server[Symbol.asyncDispose]()
  server = await startServer({ data })
  await asks()
  expect(await noPlans()).toHaveLength(1)

  // Another cause is another event.
  await cli('machine', 'label', mac, 'row=b')
  await asks()
  expect(await noPlans()).toHaveLength(2)

  await cli('machine', 'label', mac, 'rack=7')
  await asks()
  await cli('machine', 'label', mac, 'rack-')
  await asks()
  const third = (await noPlans())[2]
  expect(third?.message).toContain("lacks the label 'rack', needed by")
})

test('a release that is not there and a label that is missing are both said', async () => {
  await put('profiles/edge?unpublished=true', { image: { name: 'edge', version: '2.0' }, cluster: 'factory' })
  await boots(async (session) => {
    expect(await session.plan()).toMatchObject({ status: 'wait', reason: expect.stringContaining('2.0') })
  })
  const text = await cli('machine', 'why', mac)
  expect(text).toContain('It waits (target-not-found): ')
  expect(text).toContain("It cannot join cluster 'factory' (label-missing): ")
})
