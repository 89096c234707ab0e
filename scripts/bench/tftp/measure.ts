/** Rounds in which the servers take turns, and what is printed of them. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { tool } from '../../../test/support/tools.ts'
import { median } from '../statistics.ts'
import {
  type Case,
  cpuSeconds,
  type Load,
  type LoadHow,
  loadOnce,
  ownMegabytes,
  type RunningServer,
  startServers,
  stopServer,
} from './servers.ts'

/** Processor time is the server's own: on shared cores it says more than the clock. */
type Sample = Load & { cpuSecondsPerGb: number; megabytes: number }

export type Bench = {
  name: string
  cases: readonly Case[]
  /** Bytes of each file that a case names. */
  files: Readonly<Record<string, number>>
  rounds: number
  /** Ours, the first beside the peers; more for comparison. */
  engines: readonly string[]
  /** Least ratio to the best peer, by case. */
  goal: (one: Case) => number
  /** Says what bounds a case whose goal was not reached. */
  bound: (one: Case, rows: readonly Row[]) => string
}

export type Row = {
  server: string
  median: number
  min: number
  max: number
  cpuSecondsPerGb: number
  megabytes: number
  loadCpu: number
  windowsize: number
  failed: number
}

/** Compiles the load program, starts all servers, measures case by case, and ends them. */
export async function bench(options: Bench): Promise<void> {
  const compiler = tool('cc') ?? tool('gcc')
  if (compiler === undefined) {
    console.error(
      `bench ${options.name}: needs a C compiler for its load generator (Debian: apt-get install gcc libc6-dev)`,
    )
    process.exitCode = 1
    return
  }
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-tftp-'))
  let servers: RunningServer[] = []
  try {
    // The other servers drop their rights: the files have to be readable for anybody.
    await chmod(folder, 0o755)
    for (const [name, bytes] of Object.entries({ ...options.files, ready: 100 }))
      await writeFile(join(folder, name), randomBytes(bytes))
    const load = join(folder, 'load')
    await promisify(execFile)(compiler, ['-O2', '-o', load, join(import.meta.dirname, 'load.c')])
    servers = await startServers({ load, folder }, options.engines)
    await idle(options.name, servers)
    for (const one of options.cases) await measure(one, servers, { load, folder }, options)
  } finally {
    await Promise.all(servers.map(({ child }) => stopServer(child)))
    await rm(folder, { recursive: true, force: true })
  }
}

const idleMs = 5000

/** What a server without clients costs. */
async function idle(name: string, servers: readonly RunningServer[]): Promise<void> {
  await sleep(500)
  const before = await Promise.all(servers.map(cpuSeconds))
  await sleep(idleMs)
  const after = await Promise.all(servers.map(cpuSeconds))
  console.log(`\nidle for ${idleMs / 1000} s`)
  for (const [index, server] of servers.entries()) {
    const share = ((after[index] ?? 0) - (before[index] ?? 0)) / (idleMs / 1000)
    console.log(`${server.name.padEnd(14)}${(100 * share).toFixed(1).padStart(8)} % of a processor`)
    console.log(JSON.stringify({ bench: name, case: 'idle', server: server.name, cpuShare: share }))
  }
}

async function measure(
  one: Case,
  servers: readonly RunningServer[],
  how: { load: string; folder: string },
  options: Bench,
): Promise<void> {
  const samples = new Map(servers.map((server) => [server.name, [] as (Sample | undefined)[]]))
  for (let round = 1; round <= options.rounds; round += 1)
    for (const server of servers)
      samples
        .get(server.name)
        ?.push(await sample(one, server, { ...how, seed: round, timeoutMs: 300_000 }).catch(() => undefined))
  const rows = [...samples].map(([server, taken]) => summary(server, taken))
  print(one, rows, options)
}

async function sample(one: Case, server: RunningServer, how: LoadHow): Promise<Sample> {
  const before = await cpuSeconds(server)
  let megabytes = 0
  const watch = setInterval(async () => {
    megabytes = Math.max(megabytes, await ownMegabytes(server))
  }, 200)
  try {
    const load = await loadOnce(one, server, how)
    const used = (await cpuSeconds(server)) - before
    megabytes = Math.max(megabytes, await ownMegabytes(server))
    return { ...load, cpuSecondsPerGb: used / (load.bytes / 1e9), megabytes }
  } finally {
    clearInterval(watch)
  }
}

function summary(server: string, all: readonly (Sample | undefined)[]): Row {
  const taken = all.filter((one) => one !== undefined)
  const of = (value: (one: Sample) => number) => taken.map(value)
  const rates = of((one) => one.mbPerSecond)
  return {
    server,
    median: median(rates),
    min: rates.length === 0 ? 0 : Math.min(...rates),
    max: Math.max(0, ...rates),
    cpuSecondsPerGb: median(of((one) => one.cpuSecondsPerGb)),
    megabytes: Math.max(0, ...of((one) => one.megabytes)),
    loadCpu: median(of((one) => one.loadCpu)),
    windowsize: taken[0]?.windowsize ?? 1,
    failed: all.length - taken.length,
  }
}

const columns = ['MB/s median', 'min', 'max', 'CPU s/GB', 'own MB', 'load CPU'] as const

function print(one: Case, rows: readonly Row[], options: Bench): void {
  const kilobytes = (options.files[one.file] ?? 0) / 1000
  console.log(
    `\n${one.name}: ${one.clients} clients, ${kilobytes} kB each, blksize ${one.blksize}, windowsize ${one.windowsize}, ` +
      `${one.loss * 100} % of DATA lost, ${options.rounds} rounds`,
  )
  console.log(`${'server'.padEnd(14)}${columns.map((name) => name.padStart(13)).join('')}   muster is`)
  const [ours] = rows
  for (const row of rows) {
    const cpu = row.cpuSecondsPerGb > 0.05 ? row.cpuSecondsPerGb.toFixed(2) : '?'
    const cells = [row.median.toFixed(1), row.min.toFixed(1), row.max.toFixed(1), cpu]
    const ratio = row.median === 0 ? '' : `${((ours?.median ?? 0) / row.median).toFixed(2)} x`
    const window = row.windowsize < one.windowsize ? `   (windowsize ${row.windowsize}: it has no other)` : ''
    const failed = row.failed > 0 ? `   (${row.failed} of ${options.rounds} rounds failed)` : ''
    const all = [...cells, row.megabytes.toFixed(1), row.loadCpu.toFixed(2)]
    console.log(
      `${row.server.padEnd(14)}${all.map((cell) => cell.padStart(13)).join('')}   ${ratio}${window}${failed}`,
    )
  }
  verdict(one, rows, options)
  for (const row of rows)
    console.log(
      JSON.stringify({
        bench: options.name,
        case: one.name,
        ...row,
        ratio: (ours?.median ?? 0) / row.median,
      }),
    )
}

/** The goal against the best peer; a ratio counts where the spreads do not overlap. */
function verdict(one: Case, rows: readonly Row[], options: Bench): void {
  const [ours, ...others] = rows
  const best = others
    .filter(({ server }) => !server.startsWith('muster'))
    .toSorted((a, b) => b.median - a.median)[0]
  if (ours === undefined || best === undefined || best.median === 0) return
  const ratio = ours.median / best.median
  const goal = options.goal(one)
  const overlaps = ours.min <= best.max && best.min <= ours.max
  console.log(
    `goal ${goal.toFixed(1)} x the best peer, ${best.server}: ${ratio.toFixed(2)} x, ${ratio >= goal ? 'reached' : 'not reached'}` +
      (overlaps ? '; the spreads overlap' : '') +
      (ratio >= goal ? '' : `. ${options.bound(one, rows)}`),
  )
}
