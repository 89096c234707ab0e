/** The agent's Host over Node, so that every step runs in tests: real curl, openssl and sockets, programs of our own for the rest. */
import { spawn } from 'node:child_process'
import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import type { Host, Program } from '../../src/agent/host.ts'

export type NodeHost = Host & { lines: string[]; terminalLines: Map<string, string[]>; slept: number[] }

/** `binFolder` goes before PATH. Sleeping is shortened to `sleepMostMs`, and the clock goes on as if it were not. */
export function createNodeHost(options: { binFolder: string; sleepMostMs?: number }): NodeHost {
  const lines: string[] = []
  const terminalLines = new Map<string, string[]>()
  const slept: number[] = []
  let skippedMs = 0
  return {
    lines,
    terminalLines,
    slept,
    async start(argv) {
      return startProgram(argv, options.binFolder)
    },
    async readFile(path, maxBytes) {
      let handle: Awaited<ReturnType<typeof open>> | undefined
      try {
        handle = await open(path, 'r')
        const buffer = Buffer.alloc(Math.min(maxBytes, 64 * 1024 * 1024))
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, null)
        return new Uint8Array(buffer.subarray(0, bytesRead))
      } catch {
        return undefined
      } finally {
        await handle?.close()
      }
    },
    async writeFile(path, bytes, mode) {
      await writeFile(path, bytes, { mode })
    },
    async openWriter(path, offset) {
      const handle = await open(path, 'r+').catch(() => open(path, 'w', 0o600))
      let position = offset
      return {
        async write(bytes) {
          await handle.write(bytes, 0, bytes.length, position)
          position += bytes.length
        },
        async close() {
          await handle.close()
        },
      }
    },
    async remove(path) {
      await rm(path, { force: true })
    },
    async makeFolder(path) {
      await mkdir(path, { recursive: true, mode: 0o700 })
    },
    async listFolder(path) {
      return (await readdir(path).catch(() => [])).sort()
    },
    print(line) {
      lines.push(line)
    },
    printTo(path, line) {
      terminalLines.set(path, [...(terminalLines.get(path) ?? []), line])
    },
    now() {
      return Math.round(performance.now() + skippedMs)
    },
    async sleep(delayMs) {
      slept.push(delayMs)
      const shortMs = Math.min(delayMs, options.sleepMostMs ?? 50)
      skippedMs += delayMs - shortMs
      await new Promise((resolve) => setTimeout(resolve, shortMs))
    },
    random() {
      return 0
    },
  }
}

function startProgram(argv: readonly string[], binFolder: string): Program {
  const env = { ...process.env, PATH: `${binFolder}:${process.env['PATH']}` }
  const child = spawn(argv[0]!, argv.slice(1), { env })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString('latin1')).slice(-4096)
  })
  child.stdin.on('error', () => {})
  const ended = new Promise<number>((resolve) => {
    child.on('error', () => resolve(127))
    child.on('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : 15)))
  })
  const output = child.stdout[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  return {
    async write(bytes) {
      if (child.stdin.destroyed) return false
      return new Promise((resolve) => child.stdin.write(bytes, (error) => resolve(!error)))
    },
    async closeInput() {
      child.stdin.end()
    },
    async read() {
      const next = await output.next()
      return next.done ? undefined : new Uint8Array(next.value)
    },
    kill() {
      child.kill()
    },
    async wait() {
      child.stdin.end()
      child.stdout.destroy()
      return { status: await ended, stderr }
    },
  }
}
