/**
 * Writes cpio archives in the "new ASCII" format that the kernel unpacks into its initial root file system
 * (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 *     offset size  member (ASCII hex, 8 digits each after the magic)
 *          0    6  magic "070701"
 *          6   13×8  ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
 *        110  namesize  name with its NUL, then NULs to a multiple of 4
 *               filesize  data, then NULs to a multiple of 4
 *
 * The same entries give the same bytes: order, inode numbers, owner and time do not come from a file system.
 */
import { MusterError } from '../errors.ts'
import { compareText } from './lock.ts'

const S_IFCHR = 0o020000
const S_IFDIR = 0o040000
const S_IFREG = 0o100000
const S_IFLNK = 0o120000

export type CpioEntry =
  | { type: 'file'; path: string; mode: number; bytes: Uint8Array }
  | { type: 'directory'; path: string; mode: number }
  | { type: 'symlink'; path: string; target: string }
  | { type: 'character-device'; path: string; mode: number; major: number; minor: number }

/**
 * Paths are relative (`usr/bin/qjs`). Folders that nobody named are made with mode 0755.
 * @throws build-failed at a path that is absolute, has empty or dot parts, or stands twice.
 */
export function encodeCpio(entries: readonly CpioEntry[]): Buffer {
  const byPath = new Map<string, CpioEntry>()
  for (const entry of entries) {
    checkPath(entry.path)
    if (byPath.has(entry.path)) throw new MusterError('build-failed', `'${entry.path}' is packed twice.`)
    byPath.set(entry.path, entry)
  }
  for (const path of [...byPath.keys()]) addParents(byPath, path)
  const sorted = [...byPath.values()].sort((a, b) => compareText(a.path, b.path))
  const parts = sorted.flatMap((entry, index) => encodeEntry(entry, index + 1))
  parts.push(...record('TRAILER!!!', { ino: 0, mode: 0, links: 1 }, new Uint8Array()))
  return Buffer.concat(parts)
}

function encodeEntry(entry: CpioEntry, ino: number): Uint8Array[] {
  switch (entry.type) {
    case 'file':
      return record(entry.path, { ino, mode: S_IFREG | entry.mode, links: 1 }, entry.bytes)
    case 'directory':
      return record(entry.path, { ino, mode: S_IFDIR | entry.mode, links: 2 }, new Uint8Array())
    case 'symlink':
      return record(entry.path, { ino, mode: S_IFLNK | 0o777, links: 1 }, Buffer.from(entry.target))
    case 'character-device': {
      const { major, minor } = entry
      return record(entry.path, { ino, mode: S_IFCHR | entry.mode, links: 1, major, minor }, new Uint8Array())
    }
  }
}

type Header = { ino: number; mode: number; links: number; major?: number; minor?: number }

function record(path: string, header: Header, data: Uint8Array): Uint8Array[] {
  const name = Buffer.from(`${path}\0`)
  const { ino, mode, links, major = 0, minor = 0 } = header
  const fields = [ino, mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length, 0]
  const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`
  return [Buffer.from(head), name, padding(head.length + name.length), data, padding(data.length)]
}

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4)
}

function addParents(byPath: Map<string, CpioEntry>, path: string): void {
  for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
    const parent = path.slice(0, end)
    if (!byPath.has(parent)) byPath.set(parent, { type: 'directory', path: parent, mode: 0o755 })
  }
}

function checkPath(path: string): void {
  const bad =
    path.split('/').some((part) => part === '' || part === '.' || part === '..') || path.includes('\0')
  if (bad)
    throw new MusterError('build-failed', `'${path}' is no path for an initramfs: relative, without dots.`)
}
