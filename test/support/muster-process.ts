/** The program as people start it: `node src/main.ts …` in a process of its own, to be read, and to be killed. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createApiClient } from '../../src/cli/api-client.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { adminSocketName } from '../../src/http/admin-socket.ts'
import type { Status } from '../../src/http/admin-status.ts'
import { smallServer } from './server.ts'

const program = join(import.meta.dirname, '../../src/main.ts')

export type Ended = { code: number | null; signal: NodeJS.Signals | null; out: string; err: string }

export type MusterProcess = AsyncDisposable & {
  child: ChildProcess
  out(): string
  err(): string
  ended: Promise<Ended>
  /** kill -9. */
  kill(): Promise<void>
}

export type StartOptions = {
  env?: Record<string, string>
  uid?: number
  cwd?: string
  /** What starts it and becomes it: `ip netns exec NAME`. */
  wrapper?: readonly string[]
}

export function startMuster(argv: readonly string[], options: StartOptions = {}): MusterProcess {
  const { env = {}, uid, cwd = tmpdir(), wrapper = [] } = options
  const [command = process.execPath, ...words] = [...wrapper, process.execPath, program, ...argv]
  const child = spawn(command, words, {
    // Nothing of whoever runs the tests: no settings, no docker login.
    env: { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), ...env },
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  let [out, err] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, out, err }) as Ended)
  const kill = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  }
  return { child, out: () => out, err: () => err, ended, kill, [Symbol.asyncDispose]: kill }
}

export const muster = (argv: readonly string[], options?: StartOptions): Promise<Ended> =>
  startMuster(argv, options).ended

export type ServerProcess = MusterProcess & { firmwarePort: number; agentPort: number; firmware: string }

export function settingFlags(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
}

const startTimeoutMs = 25_000

/** Resolves when it serves. @throws Error with what it printed when it does not. */
export async function startServerProcess(
  data: string,
  options: StartOptions & { settings?: Readonly<Record<string, string>>; argv?: readonly string[] } = {},
): Promise<ServerProcess> {
  const { settings = {}, argv = [], ...rest } = options
  const flags = settingFlags({ ...smallServer, ...settings })
  const server = startMuster(['serve', '--data', data, ...flags, ...argv], rest)
  const api = createApiClient({ kind: 'socket', path: join(data, adminSocketName) })
  const giveUpAtMs = Date.now() + startTimeoutMs
  for (;;) {
    try {
      // The socket opens last.
      const { planes } = await api.call<Status>({ method: 'GET', path: '/status' })
      const portOf = (plane: string) =>
        Number(new URL(planes.find(({ name }) => name === plane)?.url as string).port)
      const [firmwarePort, agentPort] = [portOf('firmware'), portOf('agent')]
      return { ...server, firmwarePort, agentPort, firmware: `http://127.0.0.1:${firmwarePort}` }
    } catch (error) {
      const alive = server.child.exitCode === null && server.child.signalCode === null
      if (errorCodeOf(error) !== 'server-unreachable' || !alive || Date.now() > giveUpAtMs) {
        await server.kill()
        throw new Error(`the server did not start:\n${server.out()}${server.err()}`, { cause: error })
      }
      await sleep(50)
    }
  }
}
