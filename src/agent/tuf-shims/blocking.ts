/**
 * Files and programs on QuickJS, without waiting for promises: tuf-js verifies synchronously, so what verifies for it
 * has to block. Everything else in the agent goes through host.ts.
 */
// biome-ignore lint/style/useNodejsImportProtocol: QuickJS's module of this name, not Node's
import * as os from 'os'
import type { OpensslHost } from '../../crypto/openssl.ts'
import { MusterError } from '../../errors.ts'

const chunkBytes = 65_536
/** openssl and curl's few words; content never comes this way. */
const maxOutputBytes = 1_048_576

/** Undefined for a file that is not there. @throws internal for one that cannot be read, or is longer than `maxBytes`. */
export function readFile(path: string, maxBytes: number): Uint8Array | undefined {
  const fd = os.open(path, os.O_RDONLY)
  if (fd === -ENOENT) return undefined
  if (fd < 0) throw failed(`opening ${path}`, fd)
  try {
    return readAll(fd, maxBytes)
  } finally {
    os.close(fd)
  }
}

const ENOENT = 2

/** All of it or nothing: a new file with this mode takes the place of the old one. */
export function writeFile(path: string, bytes: Uint8Array, mode: number): void {
  const draft = `${path}.new`
  os.remove(draft)
  const fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
  if (fd < 0) throw failed(`creating ${draft}`, fd)
  const copy = bytes.slice().buffer as ArrayBuffer
  for (let at = 0; at < copy.byteLength; ) {
    const count = os.write(fd, copy, at, copy.byteLength - at)
    if (count <= 0) throw failed(`writing ${draft}`, count)
    at += count
  }
  os.close(fd)
  const status = os.rename(draft, path)
  if (status < 0) throw failed(`renaming ${draft}`, status)
}

/** Runs a program found on PATH to its end; its standard error is the console. */
export function run(argv: readonly string[]): { code: number; stdout: Uint8Array } {
  const ends = os.pipe()
  if (ends === null) throw failed(`a pipe for ${argv[0]}`, 0)
  const [readEnd, writeEnd] = ends
  const pid = os.exec(argv, { block: false, stdout: writeEnd })
  os.close(writeEnd)
  try {
    const stdout = readAll(readEnd, maxOutputBytes)
    const [, status] = os.waitpid(pid, 0)
    // wait(2): the low seven bits are a signal's number, the second byte the exit status.
    const signal = status & 0x7f
    return { code: signal === 0 ? (status >> 8) & 0xff : 128 + signal, stdout }
  } finally {
    os.close(readEnd)
  }
}

/** What createOpensslCrypto asks for. @param folder there already, mode 0700, in memory, for this process alone. */
export function createOpensslHost(folder: string): OpensslHost {
  return {
    run,
    writeFile(name, bytes) {
      const path = `${folder}/${name}`
      writeFile(path, bytes, 0o600)
      return path
    },
    randomBytes(count) {
      const fd = os.open('/dev/urandom', os.O_RDONLY)
      if (fd < 0) throw failed('opening /dev/urandom', fd)
      const bytes = new Uint8Array(count)
      const got = os.read(fd, bytes.buffer, 0, count)
      os.close(fd)
      if (got !== count) throw failed('reading /dev/urandom', got)
      return bytes
    },
  }
}

function readAll(fd: number, maxBytes: number): Uint8Array {
  const chunks: Uint8Array[] = []
  let length = 0
  for (;;) {
    const chunk = new Uint8Array(chunkBytes)
    const count = os.read(fd, chunk.buffer, 0, chunkBytes)
    if (count < 0) throw failed('reading', count)
    if (count === 0) break
    length += count
    if (length > maxBytes)
      throw new MusterError('internal', `Reading more than ${maxBytes} bytes was not expected.`)
    chunks.push(chunk.subarray(0, count))
  }
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

function failed(what: string, code: number): MusterError {
  return new MusterError('internal', `The agent's machine refused: ${what} (${code}); is its memory full?`)
}
