/**
 * `npm run bench -- http`: serving stored files over HTTP, beside nginx.
 *
 * Both serve the same files from the same folder on loopback, each in one worker process, to the same wrk with one thread. Five
 * rounds, the two servers in turn within each, so that whatever else the machine does hits both. A ratio counts when
 * the two spreads do not overlap.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { silentLog } from '../../src/log.ts'
import { createBlobStore } from '../../src/store/blobs.ts'
import { skipReason, tool } from '../../test/support/tools.ts'
import { parseOptions } from '../usage.ts'

const execute = promisify(execFile)
const rounds = 5
const seconds = 3
const cases = [
  { name: 'small file, 2 KB, 32 clients', bytes: 2_000, clients: 32 },
  { name: 'kernel, 12 MB, 1 client', bytes: 12_000_000, clients: 1 },
  { name: 'kernel, 12 MB, 64 clients', bytes: 12_000_000, clients: 64 },
  { name: 'image, 300 MB, 8 clients', bytes: 300_000_000, clients: 8 },
]

type Result = { megabytesPerSecond: number; requestsPerSecond: number; failed: number }
type Server = { name: string; port: number; pids: () => Promise<number[]>; child: ChildProcess }

export async function run(args: string[] = []): Promise<void> {
  parseOptions(args, {})
  const [nginx, wrk] = [tool('nginx'), tool('wrk')]
  if (nginx === undefined || wrk === undefined) {
    throw new Error(nginx === undefined ? skipReason('nginx') : skipReason('wrk'))
  }
  const folder = await mkdtemp(join(tmpdir(), 'muster-bench-http-'))
  const servers: Server[] = []
  try {
    const files = await makeFiles(folder)
    servers.push(await startMuster(folder), await startNginx(nginx, folder))
    const results = new Map<string, Result[]>()
    for (let round = 1; round <= rounds; round++) {
      for (const [index, test] of cases.entries()) {
        for (const server of round % 2 === 0 ? servers.toReversed() : servers) {
          const result = await measure(
            wrk,
            `http://127.0.0.1:${server.port}/sha256/${files[index]}`,
            test.clients,
          )
          const key = `${test.name}|${server.name}`
          results.set(key, [...(results.get(key) ?? []), result])
          console.log(
            JSON.stringify({ bench: 'http', case: test.name, server: server.name, round, ...result }),
          )
        }
      }
    }
    printTable(results)
    for (const server of servers) {
      const peaks = await Promise.all((await server.pids()).map(peakMegabytes))
      console.log(`peak memory of ${server.name}: ${peaks.map((one) => `${one} MB`).join(' + ')}`)
    }
  } finally {
    for (const { child } of servers) {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
    }
    await rm(folder, { recursive: true })
  }
}

/** Pseudo-random bytes, the same each time; gives the hexadecimal digests that are their names. */
async function makeFiles(folder: string): Promise<string[]> {
  const store = createBlobStore({ directory: folder, log: silentLog })
  const names: string[] = []
  for (const { bytes } of cases) {
    const block = createHash('shake256', { outputLength: Math.min(bytes, 1_000_000) })
      .update('bench')
      .digest()
    const blocks = function* () {
      for (let left = bytes; left > 0; left -= block.length) yield block.subarray(0, left)
    }
    const hash = createHash('sha256')
    for (const one of blocks()) hash.update(one)
    const hex = hash.digest('hex')
    const source = (async function* () {
      yield* blocks()
    })()
    await store.write({ digest: `sha256:${hex}`, size: bytes }, source)
    names.push(hex)
  }
  return names
}

async function startMuster(folder: string): Promise<Server> {
  const script = join(import.meta.dirname, 'http-server.ts')
  const child = spawn(process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return { name: 'muster', port: Number(line.toString()), child, pids: async () => [child.pid ?? 0] }
}

async function startNginx(program: string, folder: string): Promise<Server> {
  const port = await freePort()
  const config = join(folder, 'nginx.conf')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (one) => `${one}_temp_path ${folder}/${one};`,
  )
  await writeFile(
    config,
    `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr crit;
     ${process.getuid?.() === 0 ? 'user root;' : ''}
     events { worker_connections 1024; }
     http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/octet-stream;
            ${temporary.join(' ')}
            server { listen 127.0.0.1:${port}; root ${folder}; } }`,
  )
  const child = spawn(program, ['-p', folder, '-c', config], { stdio: ['ignore', 'ignore', 'inherit'] })
  for (let tries = 0; ; tries++) {
    const reply = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined)
    if (reply !== undefined) break
    if (tries > 100 || child.exitCode !== null) throw new Error('nginx did not start')
    await sleep(50)
  }
  const workers = async () => {
    const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
    return children.trim().split(' ').map(Number)
  }
  return { name: 'nginx', port, child, pids: workers }
}

async function measure(wrk: string, url: string, clients: number): Promise<Result> {
  const { stdout } = await execute(wrk, ['-t1', `-c${clients}`, `-d${seconds}s`, '--timeout', '30s', url])
  const [, amount = '0', unit = ''] = /Transfer\/sec:\s+([\d.]+)([KMG]?)B/.exec(stdout) ?? []
  const bytes = Number(amount) * 1024 ** ['', 'K', 'M', 'G'].indexOf(unit)
  const errors =
    /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout)?.slice(1) ?? []
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? '0'
  return {
    megabytesPerSecond: Math.round(bytes / 1e5) / 10,
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1] ?? 0),
    failed: [...errors, refused].reduce((sum, one) => sum + Number(one), 0),
  }
}

function printTable(results: ReadonlyMap<string, readonly Result[]>): void {
  console.log('\n| MB/s, median (least–most) | muster | nginx | muster / nginx |\n|---|---|---|---|')
  for (const { name } of cases) {
    const [ours, theirs] = ['muster', 'nginx'].map((server) =>
      (results.get(`${name}|${server}`) ?? []).map((one) => one.megabytesPerSecond).sort((a, b) => a - b),
    ) as [number[], number[]]
    const overlap = ours[0]! <= theirs.at(-1)! && theirs[0]! <= ours.at(-1)!
    const ratio = (median(ours) / median(theirs)).toFixed(2)
    console.log(
      `| ${name} | ${spread(ours)} | ${spread(theirs)} | ${ratio}${overlap ? ' (spreads overlap)' : ''} |`,
    )
  }
  const failed = [...results.values()].flat().reduce((sum, one) => sum + one.failed, 0)
  console.log(`failed requests: ${failed}`)
}

const median = (sorted: readonly number[]): number => sorted[Math.floor(sorted.length / 2)] ?? 0
const spread = (sorted: readonly number[]): string => `${median(sorted)} (${sorted[0]}–${sorted.at(-1)})`

async function peakMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
