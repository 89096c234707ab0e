/**
 * `npm run bench -- storm [--machines 1000] [--within 10]`: so many machines come up within so many seconds and each asks for
 * everything: a loader over TFTP, the scripts, the agent's kernel and initramfs over HTTP, and says hello over TLS. Nobody may fail.
 * Prints the time of each kind of request (median, p99, greatest) and the server's memory. The machines run in this process, and take
 * about as much of the processors as the server.
 *
 * A thousand machines that nobody knows are more than the server takes up in a minute by default (machines.newPerMinuteMax, 600:
 * the others are asked to come again); here it is raised, so that each hello is answered at once.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createApiClient } from '../../src/cli/api-client.ts'
import { adminSocketName } from '../../src/http/admin-socket.ts'
import type { Status } from '../../src/http/admin-status.ts'
import { parseOptions, wholeNumber } from '../usage.ts'
import { median } from './statistics.ts'
import { boot, type Ports, steps, type Took } from './storm/machine.ts'
import { startTftpThread } from './storm/tftp-thread.ts'

const root = join(import.meta.dirname, '../..')
const loaderName = 'ipxe-amd64.efi'
const readyWithinMs = 300_000

export async function run(args: string[] = []): Promise<void> {
  const values = parseOptions(args, {
    machines: { type: 'string', default: '1000' },
    within: { type: 'string', default: '10' },
  })
  const machines = wholeNumber('machines', values.machines)
  const withinSeconds = wholeNumber('within', values.within)
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-storm-'))
  const server = startServer(folder)
  try {
    const ports = await readyPorts(folder, server)
    const loaders = await readdir(join(folder, 'data/boot/loaders'))
    const loader = loaders.includes(loaderName) ? loaderName : (loaders[0] ?? loaderName)
    await using tftp = startTftpThread()
    const before = await memory(server)
    const started = performance.now()
    const results = await Promise.allSettled(
      Array.from({ length: machines }, async (_, index) => {
        await sleep((index * withinSeconds * 1000) / machines)
        return boot(index, { ports, loader, tftp })
      }),
    )
    const seconds = (performance.now() - started) / 1000
    report(results, { machines, seconds, loader, before, after: await memory(server) })
  } finally {
    server.kill('SIGTERM')
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
    await rm(folder, { recursive: true, force: true })
  }
}

function startServer(folder: string): ChildProcess {
  const settings = {
    'firmware.host': '127.0.0.1',
    'firmware.port': '0',
    'agent.host': '127.0.0.1',
    'agent.port': '0',
    'admin.port': '0',
    'tftp.host': '127.0.0.1',
    'tftp.port': '0',
    'machines.newPerMinuteMax': '100000',
    'log.level': 'warn',
    cache: join(root, '.cache/muster'),
  }
  return spawn(
    process.execPath,
    [
      ...['--disable-warning=ExperimentalWarning', join(root, 'src/main.ts')],
      ...['serve', '--data', join(folder, 'data')],
      ...Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]),
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] },
  )
}

/** Waits until everything that a machine needs is made. */
async function readyPorts(folder: string, server: ChildProcess): Promise<Ports> {
  const api = createApiClient({ kind: 'socket', path: join(folder, 'data', adminSocketName) })
  for (const started = performance.now(); ; await sleep(500)) {
    const status = await api.call<Status>({ method: 'GET', path: '/status' }).catch(() => undefined)
    if (status?.ready === true) {
      const port = (name: string) =>
        Number(new URL(status.planes.find((plane) => plane.name === name)?.url ?? 'http://none').port)
      return { tftp: port('tftp'), firmware: port('firmware'), agent: port('agent') }
    }
    if (server.exitCode !== null || performance.now() - started > readyWithinMs)
      throw new Error(`the server is not ready: ${JSON.stringify(status?.missing ?? 'no answer')}`)
  }
}

type Memory = { restMegabytes: number; peakMegabytes: number }

async function memory(server: ChildProcess): Promise<Memory> {
  const status = await readFile(`/proc/${server.pid}/status`, 'utf8')
  const megabytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1000
  return { restMegabytes: megabytes('VmRSS'), peakMegabytes: megabytes('VmHWM') }
}

type Facts = { machines: number; seconds: number; loader: string; before: Memory; after: Memory }

function report(results: PromiseSettledResult<Took>[], facts: Facts): void {
  const took = results.filter((one) => one.status === 'fulfilled').map(({ value }) => value)
  const failures = results.filter((one) => one.status === 'rejected').map(({ reason }) => String(reason))
  console.log(
    `\n${facts.machines} machines, loader ${facts.loader}: the last was done after ${facts.seconds.toFixed(1)} s`,
  )
  console.log('| request | median ms | p99 ms | greatest ms |\n|---|---|---|---|')
  for (const step of steps) {
    const times = took.map((one) => one[step]).toSorted((one, other) => one - other)
    const [middle, p99, most] = [
      median(times),
      times[Math.floor(times.length * 0.99)] ?? 0,
      times.at(-1) ?? 0,
    ].map((value) => Math.round(value * 10) / 10)
    console.log(`| ${step} | ${middle} | ${p99} | ${most} |`)
    console.log(JSON.stringify({ bench: 'storm', step, median: middle, p99, most }))
  }
  const { before, after } = facts
  console.log(
    `memory: ${before.restMegabytes.toFixed(0)} MB before, ${after.restMegabytes.toFixed(0)} MB after, at most ${after.peakMegabytes.toFixed(0)} MB (mapped files among it)`,
  )
  console.log(`failed: ${failures.length} of ${facts.machines}`)
  for (const failure of new Set(failures)) console.log(`  ${failure}`)
  const { machines, seconds } = facts
  console.log(JSON.stringify({ bench: 'storm', machines, seconds, failed: failures.length, ...after }))
  if (failures.length > 0) process.exitCode = 1
}
