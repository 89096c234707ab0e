/// <reference path="./quickjs.d.ts" />
/**
 * The Host on the machine: the only file that touches QuickJS's `std` and `os`. Every call blocks the one thread, which
 * is what a program of consecutive steps wants; the children work meanwhile.
 */
// biome-ignore lint/style/useNodejsImportProtocol: QuickJS's own module of that name.
import * as os from 'os'
import * as std from 'std'
import { MusterError } from '../errors.ts'
import { encodeUtf8 } from '../wire/utf8.ts'
import type { Host, Program, Writer } from './host.ts'
import { asciiText, concatBytes } from './text.ts'

const pipeBytes = 65_536
const stderrBytes = 4096
const notFound = -2
const exists = -17

export function createQuickjsHost(options: { workFolder: string }): Host {
  // A child that dies while we write to it must cost an error code, not the agent.
  os.signal(os.SIGPIPE, undefined)
  let started = 0
  return {
    async start(argv) {
      return startProgram(argv, `${options.workFolder}/stderr.${started++ % 8}`)
    },
    async readFile(path, maxBytes) {
      return readFile(path, maxBytes)
    },
    async writeFile(path, bytes, mode) {
      const writer = openWriter(path, os.O_TRUNC, mode)
      writeAll(writer, path, bytes)
      os.close(writer)
    },
    async openWriter(path, offset) {
      return createWriter(path, offset)
    },
    async remove(path) {
      const status = os.remove(path)
      if (status < 0 && status !== notFound) throw failed('remove', path, status)
    },
    async makeFolder(path) {
      makeFolder(path)
    },
    async listFolder(path) {
      const [names] = os.readdir(path)
      return names.filter((name) => name !== '.' && name !== '..').sort()
    },
    print(line) {
      std.out.puts(`${line}\n`)
      std.out.flush()
    },
    printTo(path, line) {
      const fd = os.open(path, os.O_WRONLY)
      if (fd < 0) return
      const bytes = encodeUtf8(`${line}\n`)
      os.write(fd, bytes.buffer as ArrayBuffer, 0, bytes.length)
      os.close(fd)
    },
    now() {
      return Math.round(performance.now())
    },
    async sleep(delayMs) {
      os.sleep(delayMs)
    },
    random() {
      return Math.random()
    },
  }
}

declare const performance: { now(): number }

function startProgram(argv: readonly string[], stderrPath: string): Program {
  const input = os.pipe()
  const output = os.pipe()
  const stderr = os.open(stderrPath, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
  if (input === null || output === null || stderr < 0)
    throw new MusterError(
      'internal',
      `No pipe or file for ${argv[0]}: the machine is out of descriptors or memory.`,
    )
  const pid = os.exec(argv, { block: false, stdin: input[0], stdout: output[1], stderr })
  for (const fd of [input[0], output[1], stderr]) os.close(fd)
  const buffer = new ArrayBuffer(pipeBytes)
  let inputOpen = true
  const closeInput = () => {
    if (inputOpen) os.close(input[1])
    inputOpen = false
  }
  return {
    async write(bytes) {
      return inputOpen && writeSome(input[1], bytes)
    },
    async closeInput() {
      closeInput()
    },
    async read() {
      const count = os.read(output[0], buffer, 0, pipeBytes)
      return count > 0 ? new Uint8Array(buffer.slice(0, count)) : undefined
    },
    kill() {
      os.kill(pid, os.SIGTERM)
    },
    async wait() {
      closeInput()
      os.close(output[0])
      const [, status] = os.waitpid(pid, 0)
      const text = asciiText(readFile(stderrPath, stderrBytes))
      os.remove(stderrPath)
      return { status: exitStatus(status), stderr: text }
    },
  }
}

/** wait(2): the exit status in the second byte, or the signal in the low seven bits. */
function exitStatus(status: number): number {
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
}

function readFile(path: string, maxBytes: number): Uint8Array | undefined {
  const fd = os.open(path, os.O_RDONLY)
  if (fd < 0) return undefined
  const parts: Uint8Array[] = []
  const buffer = new ArrayBuffer(Math.min(maxBytes, pipeBytes))
  let length = 0
  let count = 0
  do {
    count = os.read(fd, buffer, 0, Math.min(buffer.byteLength, maxBytes - length))
    if (count > 0) parts.push(new Uint8Array(buffer.slice(0, count)))
    length += Math.max(count, 0)
  } while (count > 0 && length < maxBytes)
  os.close(fd)
  // A folder opens, and fails to be read.
  if (count < 0 && length === 0) return undefined
  return concatBytes(parts)
}

function openWriter(path: string, flags: number, mode: number): number {
  const fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, mode)
  if (fd < 0) throw failed('write', path, fd)
  return fd
}

function createWriter(path: string, offset: number): Writer {
  const fd = openWriter(path, 0, 0o600)
  os.seek(fd, offset, 0)
  return {
    async write(bytes) {
      writeAll(fd, path, bytes)
    },
    async close() {
      os.close(fd)
    },
  }
}

function writeAll(fd: number, path: string, bytes: Uint8Array): void {
  if (writeSome(fd, bytes)) return
  os.close(fd)
  throw new MusterError(
    'memory-too-small',
    `Memory is full while writing ${path} (${bytes.length} bytes more).`,
  )
}

/** False as soon as the other side takes nothing. */
function writeSome(fd: number, bytes: Uint8Array): boolean {
  let offset = 0
  while (offset < bytes.length) {
    const count = os.write(fd, bytes.buffer as ArrayBuffer, bytes.byteOffset + offset, bytes.length - offset)
    if (count <= 0) return false
    offset += count
  }
  return true
}

function makeFolder(path: string): void {
  const status = os.mkdir(path, 0o700)
  if (status === notFound) {
    makeFolder(path.slice(0, path.lastIndexOf('/')))
    makeFolder(path)
  } else if (status < 0 && status !== exists) throw failed('make the folder', path, status)
}

function failed(verb: string, path: string, status: number): MusterError {
  return new MusterError('internal', `Cannot ${verb} ${path} (errno ${-status}).`)
}
