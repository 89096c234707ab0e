/**
 * The small archive in front of a signed initrd, made from a plan's files. Later archives overwrite files of earlier
 * ones, so signed files win; and what is written here are regular files in one folder, nothing else.
 *
 *     offset  chars  newc header (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)
 *     0       6      magic "070701"
 *     6       13×8   ino mode uid gid nlink mtime filesize maj min rmaj rmin namesize check, in hexadecimal
 *     110            name and NUL, zeros to a multiple of 4, data, zeros to a multiple of 4
 */
import { fromBase64 } from '../crypto/encoding.ts'
import { MusterError } from '../errors.ts'
import { fileModeProblem, fileNameProblem, type PlanFile, planLimits } from '../protocol/plan.ts'
import { encodeUtf8 } from '../wire/utf8.ts'
import { concatBytes, printable } from './text.ts'

export type ArchiveFile = { name: string; mode: number; bytes: Uint8Array }

const folder = 'muster'
const folderMode = 0o040755
const regularMode = 0o100000
const trailer = { inode: 0, mode: 0, name: 'TRAILER!!!', bytes: new Uint8Array() }

/**
 * Attacker-controlled where the server is, though signed.
 * @throws MusterError `file-refused` naming the first file that does not pass
 */
export function checkFiles(files: readonly PlanFile[]): ArchiveFile[] {
  const names = new Set<string>()
  return files.map(({ name, mode, bytes }) => {
    const problem = fileNameProblem(name)
    if (problem !== undefined) throw refused(name, problem)
    if (names.has(name)) throw refused(name, 'two files have this name')
    names.add(name)
    const tooMuch = fileModeProblem(mode)
    if (tooMuch !== undefined) throw refused(name, tooMuch)
    const content = decode(name, bytes)
    if (content.length > planLimits.fileBytes)
      throw refused(name, `it has ${content.length} bytes, at most ${planLimits.fileBytes} are allowed`)
    return { name, mode, bytes: content }
  })
}

function decode(name: string, text: string): Uint8Array {
  try {
    return fromBase64(text)
  } catch {
    throw refused(name, 'its content is not base64')
  }
}

/** Owner root, time 0: the same files give the same bytes. Ends on a multiple of 512; empty where there are no files. */
export function encodeCpio(files: readonly ArchiveFile[]): Uint8Array {
  if (files.length === 0) return new Uint8Array()
  const entries = [
    entry({ inode: 1, mode: folderMode, name: folder, bytes: new Uint8Array() }),
    ...files.map(({ name, mode, bytes }, index) =>
      entry({ inode: index + 2, mode: regularMode | mode, name: `${folder}/${name}`, bytes }),
    ),
    entry(trailer),
  ]
  return padded(concatBytes(entries), 512)
}

/** What stands around a file's data to make an archive of it that holds nothing else; what comes before it ends on a multiple of 4. */
export function archiveAround(file: { name: string; size: number }): {
  before: Uint8Array
  after: Uint8Array
} {
  const before = header({ inode: 1, mode: regularMode | 0o400, name: file.name, size: file.size })
  const padding = new Uint8Array((4 - (file.size % 4)) % 4)
  return { before, after: concatBytes([padding, entry(trailer)]) }
}

function entry(file: { inode: number; mode: number; name: string; bytes: Uint8Array }): Uint8Array {
  return concatBytes([header({ ...file, size: file.bytes.length }), padded(file.bytes, 4)])
}

function header(file: { inode: number; mode: number; name: string; size: number }): Uint8Array {
  const name = encodeUtf8(`${file.name}\0`)
  const links = file.mode === folderMode ? 2 : 1
  const fields = [file.inode, file.mode, 0, 0, links, 0, file.size, 0, 0, 0, 0, name.length, 0]
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`
  return padded(concatBytes([encodeUtf8(text), name]), 4)
}

function padded(bytes: Uint8Array, multiple: number): Uint8Array {
  return concatBytes([bytes, new Uint8Array((multiple - (bytes.length % multiple)) % multiple)])
}

function refused(name: string, reason: string): MusterError {
  return new MusterError('file-refused', `The plan's file "${printable(name, 80)}" is refused: ${reason}.`)
}
