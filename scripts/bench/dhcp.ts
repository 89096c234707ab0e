/**
 * `npm run bench -- dhcp [--rounds 5] [--case offers|leases]`: our DHCP server beside dnsmasq and Kea, each in a network namespace of its own,
 * under the same load from clients behind a relay agent in C. The servers take turns within each round. Needs root for the
 * namespaces. Ours writes each lease to a disk (fsync) before its ACK; the others write to a file and leave it to the kernel.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { tool } from '../../test/support/tools.ts'
import { addNamespace, beforeSignalEnds } from '../namespaces.ts'
import { parseOptions, wholeNumber } from '../usage.ts'
import { caseOption, chosenCases } from './cases.ts'
import { median, spread } from './statistics.ts'

const execute = promisify(execFile)

type Case = { name: 'offers' | 'leases'; clients: number; window: number }
type Server = { name: string; octet: number; command: string[]; env?: Record<string, string> }
type Load = {
  perSecond: number
  p50Ms: number
  p99Ms: number
  lost: number
  refused: number
  loadCpuShare: number
}
type Sample = Load & { serverCpuUsEach: number }
type Running = Server & { child: ChildProcess; namespace: string }

const cases: Case[] = [
  { name: 'offers', clients: 20_000, window: 32 },
  { name: 'leases', clients: 2000, window: 32 },
]

const networkOf = (octet: number) => `10.${octet}.0.0/16`
const rangeOf = (octet: number) => [`10.${octet}.1.1`, `10.${octet}.250.250`] as const
const serverOf = (octet: number) => `10.${octet}.0.1`
const relayOf = (octet: number) => `10.${octet}.0.2`

export async function run(args: string[] = []): Promise<void> {
  const values = parseOptions(args, {
    rounds: { type: 'string', default: '5' },
    case: caseOption,
  })
  const chosen = chosenCases(cases, values.case)
  const rounds = wholeNumber('rounds', values.rounds)
  const [ip, compiler] = [tool('ip'), tool('cc') ?? tool('gcc')]
  if (process.getuid?.() !== 0 || ip === undefined || compiler === undefined) {
    console.error(
      'bench dhcp: needs root, iproute2 and a C compiler (Debian: apt-get install iproute2 gcc libc6-dev)',
    )
    process.exitCode = 1
    return
  }
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-dhcp-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  stack.use(beforeSignalEnds(() => rmSync(folder, { recursive: true, force: true })))
  const load = join(folder, 'dhcp-load')
  await execute(compiler, ['-O2', '-o', load, join(import.meta.dirname, 'dhcp-load.c')])
  const client = makeNamespace(stack, ip, 'clients')
  const servers: Running[] = []
  for (const server of await candidates(folder)) {
    const namespace = makeNamespace(stack, ip, server.name)
    link(ip, { client, namespace, octet: server.octet })
    const started = await start({ server, namespace, ip, load, client })
    if (started === undefined) continue
    stack.defer(() => stop(started.child))
    servers.push(started)
  }
  for (const one of chosen) await measure(one, servers, { rounds, ip, load, client })
}

/** Every server that can be found, ours first; who is missing is named. */
async function candidates(folder: string): Promise<Server[]> {
  const ours = join(import.meta.dirname, 'dhcp-server.ts')
  const servers: Server[] = [
    {
      name: 'muster',
      octet: 91,
      command: [
        process.execPath,
        ours,
        serverOf(91),
        networkOf(91),
        rangeOf(91).join('-'),
        join(folder, 'muster.db'),
      ],
    },
  ]
  const dnsmasq = tool('dnsmasq')
  if (dnsmasq === undefined)
    console.error('bench dhcp: dnsmasq is missing (Debian: apt-get install dnsmasq-base)')
  else
    servers.push({
      name: 'dnsmasq',
      octet: 92,
      command: [
        ...[
          dnsmasq,
          '--keep-in-foreground',
          '--conf-file=/dev/null',
          '--pid-file=',
          '--port=0',
          '--user=root',
        ],
        ...[
          '--interface=eth0',
          '--no-ping',
          '--quiet-dhcp',
          '--dhcp-lease-max=100000',
          '--dhcp-authoritative',
        ],
        ...[
          `--dhcp-range=${rangeOf(92).join(',')},255.255.0.0,1h`,
          '--dhcp-boot=ipxe-amd64.efi,muster,10.92.0.1',
        ],
        ...['--dhcp-option=6,10.0.0.53', `--dhcp-leasefile=${join(folder, 'dnsmasq.leases')}`],
        '--log-facility=/dev/null',
      ],
    })
  const kea = tool('kea-dhcp4')
  if (kea === undefined)
    console.error('bench dhcp: Kea is missing (Debian: apt-get install kea-dhcp4-server)')
  else {
    const file = join(folder, 'kea.json')
    await writeFile(file, keaConfiguration(folder))
    const env = { KEA_LOCKFILE_DIR: folder, KEA_PIDFILE_DIR: folder }
    servers.push({ name: 'kea', octet: 93, command: [kea, '-c', file], env })
  }
  return servers
}

function keaConfiguration(folder: string): string {
  return JSON.stringify({
    Dhcp4: {
      'interfaces-config': { interfaces: ['eth0'], 'dhcp-socket-type': 'udp' },
      'lease-database': { type: 'memfile', persist: true, name: join(folder, 'kea.csv'), 'lfc-interval': 0 },
      'valid-lifetime': 3600,
      subnet4: [
        {
          subnet: networkOf(93),
          id: 1,
          pools: [{ pool: rangeOf(93).join(' - ') }],
          'option-data': [{ name: 'domain-name-servers', data: '10.0.0.53' }],
          'next-server': serverOf(93),
          'boot-file-name': 'ipxe-amd64.efi',
        },
      ],
      loggers: [{ name: 'kea-dhcp4', severity: 'ERROR', output_options: [{ output: '/dev/null' }] }],
    },
  })
}

function makeNamespace(stack: AsyncDisposableStack, ip: string, what: string): string {
  const name = `muster-bench-${process.pid}-${what}`
  stack.use(addNamespace(ip, name))
  execFileSync(ip, ['-n', name, 'link', 'set', 'lo', 'up'])
  return name
}

/** A cable between the clients' namespace and a server's. */
function link(
  ip: string,
  { client, namespace, octet }: { client: string; namespace: string; octet: number },
): void {
  for (const command of [
    `-n ${client} link add eth${octet} type veth peer name eth0 netns ${namespace}`,
    `-n ${client} address add ${relayOf(octet)}/16 dev eth${octet}`,
    `-n ${client} link set eth${octet} up`,
    `-n ${namespace} address add ${serverOf(octet)}/16 dev eth0`,
    `-n ${namespace} link set eth0 up`,
  ])
    execFileSync(ip, command.split(' '))
}

type Bench = { ip: string; load: string; client: string }

/** Starts it and asks for one offer; a peer that does not answer is named and left out. */
async function start(options: Bench & { server: Server; namespace: string }): Promise<Running | undefined> {
  const { ip, namespace, server } = options
  const child = spawn(ip, ['netns', 'exec', namespace, ...server.command], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...server.env },
  })
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-500)
  })
  await sleep(1500)
  try {
    await loadOnce({ name: 'offers', clients: 1, window: 1 }, server, {
      ...options,
      seed: 0,
      timeoutMs: 10_000,
    })
    return { ...server, child, namespace }
  } catch (error) {
    await stop(child)
    if (server.name === 'muster') throw new Error(said, { cause: error })
    console.error(
      `bench dhcp: ${server.name} is left out, it does not serve: ${said.trim() || 'no answer within 10 s'}`,
    )
    return undefined
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

async function loadOnce(
  { clients, name, window }: Case,
  { octet }: Server,
  { client, ip, load, seed, timeoutMs }: Bench & { seed: number; timeoutMs: number },
): Promise<Load> {
  const args = [serverOf(octet), relayOf(octet), clients, window, name, seed].map(String)
  const { stdout } = await execute(ip, ['netns', 'exec', client, load, ...args], { timeout: timeoutMs })
  return JSON.parse(stdout) as Load
}

/** User and system time of a process and its threads: proc(5), stat, fields 14 and 15, in ticks of 10 ms. */
async function cpuMs(child: ChildProcess): Promise<number> {
  const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 13).reduce((sum, field) => sum + Number(field), 0) * 10
}

async function measure(one: Case, servers: Running[], how: Bench & { rounds: number }): Promise<void> {
  const samples = new Map(servers.map((server) => [server.name, [] as Sample[]]))
  for (let round = 1; round <= how.rounds; round += 1)
    for (const server of servers) {
      const before = await cpuMs(server.child)
      // The same clients in every round: their leases are renewed, as in a rack that restarts.
      const load = await loadOnce(one, server, { ...how, seed: 1, timeoutMs: 180_000 })
      const serverCpuUsEach = (((await cpuMs(server.child)) - before) * 1000) / one.clients
      samples.get(server.name)?.push({ ...load, serverCpuUsEach })
    }
  const column = (name: string, pick: (sample: Sample) => number) => (samples.get(name) ?? []).map(pick)
  const ours = median(column('muster', ({ perSecond }) => perSecond))
  console.log(
    `\n${one.name}: ${one.clients} clients behind a relay, ${one.window} at a time, ${how.rounds} rounds, median (least–most)`,
  )
  console.log(
    `${'server'.padEnd(10)}${'per second'.padEnd(26)}${'p99 ms'.padEnd(24)}${'CPU µs each'.padEnd(24)}${'load CPU'.padEnd(10)}muster is`,
  )
  for (const [name, taken] of samples) {
    const [rate, p99, cpu] = [
      column(name, ({ perSecond }) => perSecond),
      column(name, ({ p99Ms }) => p99Ms),
      column(name, (sample) => sample.serverCpuUsEach),
    ]
    const lost = taken.reduce((sum, sample) => sum + sample.lost, 0)
    console.log(
      name.padEnd(10) +
        spread(rate, 0).padEnd(26) +
        spread(p99).padEnd(24) +
        spread(cpu, 0).padEnd(24) +
        median(column(name, ({ loadCpuShare }) => loadCpuShare))
          .toFixed(2)
          .padEnd(10) +
        `${(ours / median(rate)).toFixed(2)} x${lost > 0 ? `   (${lost} packets sent again)` : ''}`,
    )
    console.log(
      JSON.stringify({
        ...{ bench: 'dhcp', case: one.name, server: name, perSecond: median(rate), p99Ms: median(p99) },
        ...{ lost, ratio: ours / median(rate) },
      }),
    )
  }
}
