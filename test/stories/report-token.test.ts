/** The report token goes from the plan into a file of mode 0600 in the booted system, and stands nowhere else. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { createApiClient } from '../../src/cli/api-client.ts'
import { aMachine, createAgentClient, planOf, report, reportFileOf } from '../support/agent-client.ts'
import { type Exchange, standBetween } from '../support/between.ts'
import { muster, startServerProcess } from '../support/muster-process.ts'
import { recordExchanges } from '../support/recorded.ts'
import { startServer, tinyImage, writeTinyLayout } from '../support/server.ts'
import { skipReason, tool } from '../support/tools.ts'
import { findTraces, tracesOf } from '../support/traces.ts'
import { startVirtualMachine } from '../support/virtual-machine.ts'

const noQemu = tool('qemu-system-x86_64') === undefined
if (noQemu)
  console.warn(`the token on a machine's console is not looked for: ${skipReason('qemu-system-x86_64')}`)

/** Every file of the data folder but the keys, from which tokens are computed. */
async function filesOf(data: string): Promise<string[]> {
  const entries = await readdir(data, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.startsWith(join(data, 'keys')))
}

async function tracesOnDisk(data: string, traces: string[]): Promise<{ looked: number; found: string[] }> {
  const paths = await filesOf(data)
  const found: string[] = []
  for (const path of paths) if (findTraces(traces, await readFile(path)).length > 0) found.push(path)
  return { looked: paths.length, found }
}

describe('the token of a report', () => {
  test('is in no log, no event, no plan record, no file of the data folder, whatever is done with it', {
    timeout: 60_000,
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-token-'))
    try {
      const data = join(folder, 'data')
      await using server = await startServerProcess(data, {
        argv: ['--log-level', 'debug'],
        settings: { 'log.format': 'json' },
      })
      const api = createApiClient({ kind: 'socket', path: join(data, 'admin.sock') })
      const layout = await writeTinyLayout(join(folder, 'layout'), tinyImage('hello'))
      expect((await muster(['image', 'publish', layout, '--as', 'hello/1.0.0', '--data', data])).code).toBe(0)
      await api.call({
        method: 'PUT',
        path: '/profiles/all',
        body: { name: 'all', selector: {}, image: { name: 'hello', channel: 'stable' } },
      })

      using client = createAgentClient({ port: server.agentPort })
      const watching = api.lines({ method: 'GET', path: '/events/watch' })
      const seen: unknown[] = []
      const watched = (async () => {
        for await (const event of watching) seen.push(event)
      })().catch(() => undefined)
      const session = await client.boot(aMachine('52:54:00:00:00:01'))
      const reply = await session.plan()
      const { boot, token } = reportFileOf(planOf(reply))
      const traces = tracesOf(token)
      // It can be found where it is: otherwise nothing below means anything.
      expect(findTraces(traces, JSON.stringify(reply)).length).toBeGreaterThan(0)
      expect(findTraces(traces, `"token":"${token}"`)).toContain(token)

      await session.events({ events: [{ step: 'kexec', status: 'done', uptimeMs: 1 }] })
      const body = Buffer.from(JSON.stringify({ boot, status: 'joined' }))
      // What goes wrong is what gets logged.
      const bearer = { authorization: `Bearer ${token}` }
      expect((await client.post('/agent/v1/report', Buffer.from('{'), bearer)).status).toBe(400)
      expect((await client.post(`/agent/v1/report?token=${token}`, body, {})).status).toBe(403)
      expect((await client.post('/agent/v1/reports', body, bearer)).status).toBe(404)
      expect((await report(client, token, { boot: 'b-aaaaaaaaaaaaaaaa', status: 'joined' })).status).toBe(403)
      expect((await client.post('/agent/v1/hello', body, bearer)).status).toBe(400)
      expect(
        (await fetch(`${server.firmware}/boot/ipxe?mac=52:54:00:00:00:01`, { headers: bearer })).status,
      ).toBe(200)
      const other = reportFileOf(planOf(await (await client.boot(aMachine('52:54:00:00:00:02'))).plan()))
      expect((await report(client, token, { boot: other.boot, status: 'joined' })).status).toBe(403)
      expect((await report(client, token, { boot, status: 'joined', message: 'up' })).status).toBe(204)
      expect((await report(client, token, { boot, status: 'joined' })).status).toBe(204)

      const told: [string, string][] = []
      for (const path of [
        '/events',
        '/machines',
        `/boots/${boot}`,
        `/machines/${session.reply.machine}/boots`,
        `/machines/${session.reply.machine}/why`,
        '/profiles',
        '/images',
        '/status',
      ])
        told.push([path, JSON.stringify(await api.call({ method: 'GET', path }))])
      for (const command of [
        ['boot', 'show', boot],
        ['events'],
        ['machine', 'show', session.reply.machine],
        ['machine', 'why', session.reply.machine],
      ]) {
        const { code, out, err } = await muster([...command, '--data', data])
        expect(code, command.join(' ')).toBe(0)
        told.push([command.join(' '), out + err])
      }
      expect(told.find(([path]) => path === `/boots/${boot}`)?.[1]).toContain('"outcome":"joined"')
      expect(told.find(([path]) => path === '/events')?.[1]).toContain('report-refused')
      expect(seen.length).toBeGreaterThan(3)
      told.push(['watched events', JSON.stringify(seen)])

      // While it runs, with SQLite's journal beside the database, and after it stopped.
      const running = await tracesOnDisk(data, traces)
      expect(running.found).toEqual([])
      server.child.kill('SIGTERM')
      const { out, err } = await server.ended
      await watched
      expect(err).toContain('"code":"report-refused"')
      told.push(['log', err], ['output', out])
      for (const [what, text] of told) expect(findTraces(traces, text), what).toEqual([])
      const stopped = await tracesOnDisk(data, traces)
      expect(stopped.found).toEqual([])
      expect(stopped.looked).toBeGreaterThan(8)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  test.skipIf(noQemu)(
    'is not on the console of a real boot, nor on a command line, nor in what the agent reports of a failure',
    {
      timeout: 300_000,
    },
    async () => {
      const lines: string[] = []
      const server = await startServer({
        log: pino({ level: 'debug' }, { write: (line: string) => lines.push(line) }),
        settings: {
          'image.prepare': 'true',
          cache: join(import.meta.dirname, '../../.cache/muster'),
          advertise: '10.0.2.2',
          'enrolment.mode': 'ask',
          'firmware.host': '127.0.0.2',
          'agent.host': '127.0.0.2',
        },
      })
      await using _ = server
      const { machines, ports, releases, tls } = server.running
      expect(await server.api.call({ method: 'GET', path: '/status' })).toMatchObject({ missing: [] })

      // The first kernel comes with one byte changed, so that the first round fails and tells of it.
      const { digest } = JSON.parse(
        Buffer.from(
          await server.running.blobs.readAll(
            releases.catalog().image('hello')!.releases[0]!.manifest.digest,
            1e6,
          ),
        ).toString(),
      ).layers[0] as { digest: string }
      const exchanges: Exchange[] = []
      let spoilt = false
      await using between = await standBetween({
        server: { host: '127.0.0.2', firmwarePort: ports.firmware, agentPort: ports.agent },
        tls,
        meddler: {
          async takeOver(exchange, response) {
            if (exchange.plane === 'agent') exchanges.push(exchange)
            if (spoilt || !exchange.path.endsWith(digest.slice('sha256:'.length))) return false
            spoilt = true
            const bytes = Buffer.from(await server.running.blobs.readAll(digest, 1e9))
            bytes[1000]! ^= 1
            response.writeHead(200, { 'content-length': bytes.length })
            response.end(bytes)
            return true
          },
          async change(exchange, answer) {
            if (exchange.path.endsWith('/plan') && answer.body.includes('"wait"')) {
              const [{ id } = { id: '' }] = await machines.list({ limit: 1 })
              await machines.approve(id, 'anna')
            }
            return answer
          },
        },
      })
      await using machine = startVirtualMachine({
        network: { kind: 'user', bootUrl: `http://10.0.2.2:${between.firmwarePort}/boot/autoexec.ipxe` },
        memoryMiB: 1024,
        mac: '52:54:00:6d:75:02',
        uuid: '6d757374-6572-4b6f-8000-5254006d7502',
        serial: 'MUSTER-TEST-2',
      })
      const giveUpAtMs = Date.now() + 240_000
      // The booted system says it last, after its report was taken.
      while (!machine.console().includes('muster hello: joined')) {
        const lost = machine.console().includes('Kernel panic')
        if (lost || Date.now() > giveUpAtMs)
          throw new Error(`it did not join:\n${machine.console().slice(-3000)}`)
        await sleep(200)
      }

      const boots = await machines.boots()
      expect(boots.map(({ outcome }) => outcome).sort()).toEqual(['joined', 'refused'])
      const traces = boots.flatMap(({ id }) => tracesOf(machines.reportToken(id)))
      const console = machine.console()
      // The kernels print /proc/cmdline as their first lines do.
      expect(console.match(/Command line: .*/g)).toHaveLength(2)
      expect(console).toContain('refused: blob-digest')
      expect(findTraces(traces, console)).toEqual([])
      expect(findTraces(traces, lines.join(''))).toEqual([])
      for (const { path, requestBody } of exchanges) expect(findTraces(traces, requestBody), path).toEqual([])
      expect(
        exchanges
          .filter(({ headers }) => findTraces(traces, headers.authorization ?? '').length > 0)
          .map(({ path }) => path),
      ).toEqual(['/agent/v1/report'])
      for (const { id } of boots)
        expect(findTraces(traces, JSON.stringify(await machines.boot(id)))).toEqual([])
      expect(findTraces(traces, JSON.stringify(await machines.events({ limit: 500 })))).toEqual([])
      expect((await tracesOnDisk(server.data, traces)).found).toEqual([])

      // A new protocol's exchange is kept like this: MUSTER_RECORD=v2 vitest run test/stories/report-token
      const version = process.env['MUSTER_RECORD']
      if (version !== undefined) await recordExchanges({ version, exchanges, boots, tls })
    },
  )
})
