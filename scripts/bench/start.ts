/**
 * `npm run bench -- start`: from the command to a server that listens, and to one that is ready (what machines boot is made),
 * first and second start, and memory at rest; beside the least that the same runtime can do (an empty fastify server),
 * because no peer makes an agent at its start. Packages are in the cache, so that no mirror is measured.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createApiClient } from '../../src/cli/api-client.ts'
import { adminSocketName } from '../../src/http/admin-socket.ts'
import type { Status } from '../../src/http/admin-status.ts'
import { parseOptions } from '../usage.ts'
import { median, spread } from './statistics.ts'

const root = join(import.meta.dirname, '../..')
const rounds = 5
const settleMs = 3000

const readyPollMs = 20

type Start = { listeningSeconds: number; readySeconds: number; restMegabytes: number }

export async function run(args: string[] = []): Promise<void> {
  parseOptions(args, {})
  const cache = join(root, '.cache/muster')
  const results: Record<string, Start[]> = { 'first start': [], 'second start': [], 'empty fastify': [] }
  // Once without counting: fills the cache.
  await measured(await mkdtemp(join(tmpdir(), 'muster-bench-')), cache)
  for (let round = 1; round <= rounds; round++) {
    const data = await mkdtemp(join(tmpdir(), 'muster-bench-'))
    try {
      for (const name of ['first start', 'second start'] as const)
        keep(name, round, await measured(data, cache))
      keep('empty fastify', round, await measureBare())
    } finally {
      await rm(data, { recursive: true, force: true })
    }
  }
  console.log(
    '\n| | seconds to listening, median (least–most) | seconds to ready | MB at rest | ready against empty fastify |\n|---|---|---|---|---|',
  )
  const bare = median(results['empty fastify']!.map(({ readySeconds }) => readySeconds))
  for (const [name, starts] of Object.entries(results)) {
    const listening = starts.map(({ listeningSeconds }) => listeningSeconds)
    const ready = starts.map(({ readySeconds }) => readySeconds)
    const rest = median(starts.map(({ restMegabytes }) => restMegabytes)).toFixed(0)
    const ratio = (median(ready) / bare).toFixed(1)
    console.log(`| ${name} | ${spread(listening)} | ${spread(ready)} | ${rest} | ${ratio} |`)
  }

  function keep(name: string, round: number, start: Start): void {
    results[name]?.push(start)
    console.log(JSON.stringify({ bench: 'start', case: name, round, ...start }))
  }
}

function measured(data: string, cache: string): Promise<Start> {
  const settings = [
    'firmware.port=0',
    'agent.port=0',
    'admin.port=0',
    'tftp.port=0',
    'firmware.host=127.0.0.1',
    'agent.host=127.0.0.1',
    'tftp.host=127.0.0.1',
    `cache=${cache}`,
  ]
  const words = ['serve', '--data', join(data, 'data'), ...settings.flatMap((setting) => ['--set', setting])]
  const api = createApiClient({ kind: 'socket', path: join(data, 'data', adminSocketName) })
  return measure(
    [join(root, 'muster'), ...words],
    /Muster serves machines/,
    async () => (await api.call<Status>({ method: 'GET', path: '/status' })).ready,
  )
}

function measureBare(): Promise<Start> {
  const program = `import fastify from 'fastify'; const app = fastify(); app.get('/', async () => 'x'); await app.listen({ port: 0, host: '127.0.0.1' }); console.log('ready')`
  return measure([process.execPath, '--input-type=module', '--eval', program], /ready/)
}

async function measure(
  [program = '', ...args]: string[],
  listening: RegExp,
  isReady = async () => true,
): Promise<Start> {
  const started = performance.now()
  const secondsSince = () => (performance.now() - started) / 1000
  // What the launcher sets for Muster, for both.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(root, '.cache/compile') }
  const child = spawn(program, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  try {
    await said(child, listening)
    const listeningSeconds = secondsSince()
    while (!(await isReady())) await sleep(readyPollMs)
    const readySeconds = secondsSince()
    await sleep(settleMs)
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8')
    return {
      listeningSeconds,
      readySeconds,
      restMegabytes: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024,
    }
  } finally {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
  }
}

function said(child: ChildProcess, line: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const hear = (chunk: Buffer) => {
      text += chunk.toString('utf8')
      if (line.test(text)) resolve()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.once('exit', (code) => reject(new Error(`the server ended (${code}):\n${text.slice(-2000)}`)))
  })
}
