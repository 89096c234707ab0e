/** TFTP servers side by side: ours, with both engines where that is asked for, and the peers that can be found. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { tool } from '../../../test/support/tools.ts'

const execute = promisify(execFile)

export type Case = {
  name: string
  clients: number
  file: string
  blksize: number
  windowsize: number
  loss: number
}
type Server = { name: string; address: string; port: number; command: string[] }
export type RunningServer = Server & { child: ChildProcess }
/** What the load program says. `loadCpu`: the share of a processor that it took itself. */
export type Load = {
  mbPerSecond: number
  windowsize: number
  bytes: number
  seconds: number
  loadCpu: number
}
export type LoadHow = { load: string; folder: string; seed: number; timeoutMs: number }

/** Every server that can be found, ours first; who is missing is named. */
function candidates(folder: string, engines: readonly string[]): Server[] {
  const local = '127.0.0.1'
  const user = userInfo().username
  const servers: Server[] = engines.map((engine, index) => ({
    name: index === 0 ? 'muster' : `muster/${engine}`,
    address: local,
    port: 7101 + 10 * index,
    command: [
      ...[process.execPath, join(import.meta.dirname, 'server.ts')],
      ...[folder, String(7101 + 10 * index), engine],
    ],
  }))
  const peer = (name: string, program: string, where: { address: string; port: number }, args: string[]) => {
    const path = tool(program)
    if (path === undefined)
      console.error(`bench: ${name} is missing (no program ${program}; Debian: apt-get install ${name})`)
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

/** Starts each and reads a small file named `ready`; a peer that does not answer is named and left out (most need root). */
export async function startServers(
  how: { load: string; folder: string },
  engines: readonly string[],
): Promise<RunningServer[]> {
  const running: RunningServer[] = []
  for (const server of candidates(how.folder, engines)) {
    const child = await start(server, how)
    if (child !== undefined) running.push({ ...server, child })
  }
  return running
}

async function start(
  server: Server,
  how: { load: string; folder: string },
): Promise<ChildProcess | undefined> {
  const [program = '', ...args] = server.command
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-500)
  })
  const ready: Case = { name: 'ready', clients: 1, file: 'ready', blksize: 512, windowsize: 1, loss: 0 }
  try {
    await loadOnce(ready, server, { ...how, seed: 1, timeoutMs: 10_000 })
    return child
  } catch (error) {
    await stopServer(child)
    if (server.name === 'muster') throw error
    const reason = said.trim() || 'no answer within 10 s; it may need root'
    console.error(`bench: ${server.name} is left out, it does not serve: ${reason}`)
    return undefined
  }
}

export async function stopServer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

/** One run of the load program; throws where a client did not get its file. */
export async function loadOnce(one: Case, server: Server, how: LoadHow): Promise<Load> {
  const args = [server.address, server.port, one.file, join(how.folder, one.file), one.clients, one.blksize]
  const { stdout } = await execute(
    how.load,
    [...args, one.windowsize, one.loss, how.seed].map((value) => String(value)),
    { timeout: how.timeoutMs },
  )
  return JSON.parse(stdout) as Load
}

/**
 * User and system time of a process, its threads and the children that it waited for: proc(5), stat, fields 14 to 17, in ticks
 * of 10 ms. tftpd-hpa has a process of its own for each transfer that nobody waits for: its time cannot be had this way.
 */
export async function cpuSeconds({ child }: RunningServer): Promise<number> {
  const stat = await readFile(`/proc/${child.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0) / 100
}

/**
 * Memory that is a server's own, MB, with its children: what is resident and no file's page, for those are there once for all
 * (proc(5), status, RssAnon).
 */
export async function ownMegabytes(server: RunningServer): Promise<number> {
  let kilobytes = 0
  const visit = async (pid: string): Promise<void> => {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    kilobytes += Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0)
    for (const task of await readdir(`/proc/${pid}/task`)) {
      const children = await readFile(`/proc/${pid}/task/${task}/children`, 'utf8')
      for (const child of children.trim().split(' ')) if (child !== '') await visit(child).catch(() => {})
    }
  }
  await visit(String(server.child.pid)).catch(() => {})
  return kilobytes / 1000
}
