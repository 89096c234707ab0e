/**
 * `npm run bench -- tftp [--rounds 5] [--case NAME]`: our TFTP server beside tftpd-hpa, atftpd and dnsmasq, on loopback, under the same
 * load from a client in C. The servers take turns within each round, so that a busy machine slows all of them alike.
 * A ratio counts where the spreads do not overlap.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { tool } from '../../test/support/tools.ts'

const execute = promisify(execFile)

type Case = { name: string; clients: number; file: string; blksize: number; windowsize: number; loss: number }
type Server = { name: string; address: string; port: number; command: string[] }
type Load = { mbPerSecond: number; windowsize: number; bytes: number }
/** Processor time is the server's own: on shared cores it says more than the clock. */
type Sample = Load & { cpuMsPerMb: number }
type Running = Server & { child: ChildProcess }

const fileBytes = { large: 4_000_000, small: 256_000, ready: 100 }

const cases: Case[] = [
  { name: 'many', clients: 64, file: 'large', blksize: 1468, windowsize: 1, loss: 0 },
  { name: 'many-window', clients: 64, file: 'large', blksize: 1468, windowsize: 16, loss: 0 },
  { name: 'one', clients: 1, file: 'large', blksize: 1468, windowsize: 1, loss: 0 },
  { name: 'loss', clients: 32, file: 'small', blksize: 1468, windowsize: 1, loss: 0.02 },
  { name: 'loss-window', clients: 32, file: 'small', blksize: 1468, windowsize: 16, loss: 0.02 },
]

export async function run(args: string[] = []): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { rounds: { type: 'string', default: '5' }, case: { type: 'string', multiple: true } },
  })
  const compiler = tool('cc') ?? tool('gcc')
  if (compiler === undefined) {
    console.error(
      'bench tftp: needs a C compiler for its load generator (Debian: apt-get install gcc libc6-dev)',
    )
    process.exitCode = 1
    return
  }
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-tftp-'))
  const children: ChildProcess[] = []
  try {
    // The other servers drop their rights: the files have to be readable for anybody.
    await chmod(folder, 0o755)
    for (const [name, bytes] of Object.entries(fileBytes))
      await writeFile(join(folder, name), randomBytes(bytes))
    const load = join(folder, 'tftp-load')
    await execute(compiler, ['-O2', '-o', load, join(import.meta.dirname, 'tftp-load.c')])
    const servers: Running[] = []
    for (const server of candidates(folder)) {
      const child = await start(server, load, folder)
      if (child === undefined) continue
      children.push(child)
      servers.push({ ...server, child })
    }
    for (const one of cases)
      if (values.case === undefined || values.case.includes(one.name))
        await measure(one, servers, { load, folder, rounds: Number(values.rounds) })
  } finally {
    await Promise.all(children.map(stop))
    await rm(folder, { recursive: true, force: true })
  }
}

/** Every server that can be found, ours first; who is missing is named. */
function candidates(folder: string): Server[] {
  const local = '127.0.0.1'
  const user = userInfo().username
  const servers: Server[] = [
    {
      name: 'muster',
      address: local,
      port: 7101,
      command: [process.execPath, join(import.meta.dirname, 'tftp-server.ts'), folder, '7101'],
    },
  ]
  const peer = (name: string, program: string, where: { address: string; port: number }, args: string[]) => {
    const path = tool(program)
    if (path === undefined)
      console.error(`bench tftp: ${name} is missing (no program ${program}; Debian: apt-get install ${name})`)
    else servers.push({ name, ...where, command: [path, ...args] })
  }
  peer('tftpd-hpa', 'in.tftpd', { address: local, port: 7102 }, [
    ...['--foreground', '--listen', '--address', '127.0.0.1:7102', '--user', user],
    ...['--secure', folder],
  ])
  peer('atftpd', 'atftpd', { address: local, port: 7103 }, [
    ...['--daemon', '--no-fork', '--port', '7103', '--bind-address', local, '--maxthread', '1000'],
    ...['--user', user, '--group', user, folder],
  ])
  // dnsmasq knows no other port than 69, so it gets an address of its own on loopback.
  peer('dnsmasq', 'dnsmasq', { address: '127.0.77.1', port: 69 }, [
    ...['--keep-in-foreground', '--conf-file=/dev/null', '--pid-file=', '--port=0', `--user=${user}`],
    ...['--enable-tftp', `--tftp-root=${folder}`, '--tftp-max=1000'],
    ...['--listen-address=127.0.77.1', '--bind-interfaces', '--log-facility=/dev/null'],
  ])
  return servers
}

/** Starts it and reads a small file; a peer that does not answer is named and left out (most need root). */
async function start(server: Server, load: string, folder: string): Promise<ChildProcess | undefined> {
  const [program = '', ...args] = server.command
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-500)
  })
  const ready: Case = { name: 'ready', clients: 1, file: 'ready', blksize: 512, windowsize: 1, loss: 0 }
  try {
    await loadOnce(ready, server, { load, folder, seed: 1, timeoutMs: 10_000 })
    return child
  } catch (error) {
    await stop(child)
    if (server.name === 'muster') throw error
    const reason = said.trim() || 'no answer within 10 s; it may need root'
    console.error(`bench tftp: ${server.name} is left out, it does not serve: ${reason}`)
    return undefined
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

async function loadOnce(
  one: Case,
  server: Server,
  how: { load: string; folder: string; seed: number; timeoutMs: number },
): Promise<Load> {
  const args = [server.address, server.port, one.file, join(how.folder, one.file), one.clients, one.blksize]
  const { stdout } = await execute(
    how.load,
    [...args, one.windowsize, one.loss, how.seed].map((value) => String(value)),
    { timeout: how.timeoutMs },
  )
  return JSON.parse(stdout) as Load
}

async function sample(one: Case, server: Running, how: Parameters<typeof loadOnce>[2]): Promise<Sample> {
  const before = await cpuMs(server.child)
  const load = await loadOnce(one, server, how)
  return { ...load, cpuMsPerMb: ((await cpuMs(server.child)) - before) / (load.bytes / 1e6) }
}

/**
 * User and system time of a process and its threads: proc(5), stat, fields 14 and 15, in ticks of 10 ms. tftpd-hpa has a
 * process of its own for each transfer that nobody waits for, so its time cannot be had this way.
 */
async function cpuMs(child: ChildProcess): Promise<number> {
  const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = fields.slice(11, 13).reduce((sum, field) => sum + Number(field), 0)
  return ticks * 10
}

async function measure(
  one: Case,
  servers: Running[],
  how: { load: string; folder: string; rounds: number },
): Promise<void> {
  const samples = new Map(servers.map((server) => [server.name, [] as Sample[]]))
  for (let round = 1; round <= how.rounds; round += 1)
    for (const server of servers)
      samples.get(server.name)?.push(await sample(one, server, { ...how, seed: round, timeoutMs: 300_000 }))
  const rows = [...samples].map(([name, taken]) => ({ name, ...summary(taken) }))
  const ours = rows[0]?.median ?? 0
  const kilobytes = fileBytes[one.file as keyof typeof fileBytes] / 1000
  console.log(
    `\n${one.name}: ${one.clients} clients, ${kilobytes} kB each, blksize ${one.blksize}, windowsize ${one.windowsize}, ` +
      `${one.loss * 100} % of DATA lost, ${how.rounds} rounds`,
  )
  console.log(
    `${'server'.padEnd(12)}${'MB/s median'.padStart(12)}${'min'.padStart(9)}${'max'.padStart(9)}${'CPU ms/MB'.padStart(12)}   muster is`,
  )
  for (const row of rows) {
    const window = row.windowsize < one.windowsize ? `   (windowsize ${row.windowsize}: it has no other)` : ''
    console.log(
      row.name.padEnd(12) +
        row.median.toFixed(1).padStart(12) +
        row.min.toFixed(1).padStart(9) +
        row.max.toFixed(1).padStart(9) +
        (row.cpuMsPerMb > 0.5 ? row.cpuMsPerMb.toFixed(1) : '?').padStart(12) +
        `   ${(ours / row.median).toFixed(2)} x${window}`,
    )
  }
  for (const { name, ...numbers } of rows)
    console.log(
      JSON.stringify({
        bench: 'tftp',
        case: one.name,
        server: name,
        ...numbers,
        ratio: ours / numbers.median,
      }),
    )
}

function summary(samples: Sample[]) {
  const rates = samples.map((sample) => sample.mbPerSecond).sort((one, other) => one - other)
  return {
    median: rates[Math.floor(rates.length / 2)] ?? 0,
    min: rates[0] ?? 0,
    max: rates.at(-1) ?? 0,
    cpuMsPerMb:
      samples.map((one) => one.cpuMsPerMb).sort((one, other) => one - other)[
        Math.floor(samples.length / 2)
      ] ?? 0,
    windowsize: samples[0]?.windowsize ?? 1,
  }
}
