/** What a person sees of machines: who waits and for what, in the list; and the names that they gave them, in the events. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { EventView } from '../../src/http/admin-boots.ts'
import { silentLog } from '../../src/log.ts'
import { muster } from '../cli/command-line.ts'
import { aMachine, createAgentClient, planOf } from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

const mac = '52:54:00:12:34:57'
let data: string
let server: TestServer
let lines: string[]
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-seen-'))
  lines = []
  const log = { ...silentLog, warn: (_: object, line = '') => void lines.push(line) }
  server = await startServer({ data, log })
  await publishTiny(server, 'edge/1.0')
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
/** The column WAITS of the only machine. */
async function waits(): Promise<string> {
  const [head = '', row = ''] = (await cli('machines')).split('\n')
  return row.slice(head.indexOf('WAITS'), head.indexOf('TRUST')).trim()
}

test('the list of machines says what each waits for, from no profile to its plan', async () => {
  using agent = createAgentClient({ port: server.running.ports.agent })
  const session = await agent.boot(aMachine(mac))
  expect(await waits()).toBe('no profile')
  await put('clusters/factory', {
    kind: 'static',
    files: [{ name: 'row', format: 'text', template: '{{label.row}}\n' }],
  })
  await put('profiles/edge', { image: { name: 'edge', version: '1.0' }, cluster: 'factory' })
  expect(await waits()).toBe('for approval')
  expect(await session.plan()).toMatchObject({ status: 'wait' })

  // Exactly what the log says mends it.
  expect(lines).toHaveLength(1)
  const [, name = ''] =
    /^(\S+) waits for a person: 'muster approve \1' lets it boot$/.exec(lines[0] ?? '') ?? []
  await cli('approve', name)
  expect(await waits()).toBe('label missing')
  await session.plan()
  expect(lines[1]).toContain(`'muster machine label ${name} row=VALUE' sets it`)
  await cli('machine', 'label', name, 'row=b')
  expect(await waits()).toBe('')
  planOf(await session.plan())
  await put('profiles/other', { image: { name: 'edge', version: '1.0' } })
  expect(await waits()).toBe('profile tie')
  await server.api.call({ method: 'DELETE', path: '/profiles/other' })
  await cli('machine', 'quarantine', name)
  expect(await waits()).toBe('')
  expect(lines).toHaveLength(2)
})

test('events name the machine as people do, and by its id for programs', async () => {
  using agent = createAgentClient({ port: server.running.ports.agent })
  const session = await agent.boot(aMachine(mac))
  await cli('machine', 'rename', mac, 'shop-7')
  const text = await cli('events')
  const lines = text.trim().split('\n')
  expect(lines.length).toBeGreaterThanOrEqual(3)
  for (const line of lines) expect(line).toMatch(/^\S+ \S+ {2}shop-7 {2}[a-z]+/)
  const events = JSON.parse(await cli('events', '--json')) as EventView[]
  expect(events.find(({ kind }) => kind === 'hello')).toMatchObject({
    machineId: session.reply.machine,
    machineName: 'shop-7',
  })
  expect(await cli('boot', 'show', session.reply.boot)).toContain(`shop-7 (${session.reply.machine})`)
})

test('a watcher sees the name in what is kept and in progress, which is not', async () => {
  using agent = createAgentClient({ port: server.running.ports.agent })
  const session = await agent.boot(aMachine(mac))
  await cli('machine', 'rename', mac, 'shop-7')
  const stop = new AbortController()
  const watched = server.api.lines({ method: 'GET', path: '/events/watch', signal: stop.signal })
  const seen = (async () => {
    const found: EventView[] = []
    for await (const line of watched) {
      found.push(line as EventView)
      if (found.length === 2) break
    }
    return found
  })()
  // Until the watcher is connected, progress passes by.
  const timer = setInterval(() => {
    void session.events({
      events: [
        { step: 'blobs', status: 'progress', uptimeMs: 1, bytes: 1, totalBytes: 2 },
        { step: 'blobs', status: 'started', uptimeMs: 1 },
      ],
    })
  }, 100)
  try {
    expect((await seen).map(({ machineName }) => machineName)).toEqual(['shop-7', 'shop-7'])
    expect((await seen).some(({ id }) => id === 0)).toBe(true)
  } finally {
    clearInterval(timer)
    stop.abort()
  }
})
