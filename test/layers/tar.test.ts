import { execFileSync } from 'node:child_process'
import { chmod, link, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { toByteString, toBytes } from '../../src/layers/byte-string.ts'
import { type TarEntry, TarReader } from '../../src/layers/tar-reader.ts'
import { encodeTarEntry, paddingOf, tarEnd } from '../../src/layers/tar-writer.ts'
import { thrownCode } from '../support/thrown-code.ts'

type Read = TarEntry & { data: Uint8Array }

/** Pushes an archive in pieces of the given size, and collects what comes out. */
function read(archive: Uint8Array, pieceBytes = archive.length || 1): Read[] {
  const entries: Read[] = []
  const reader = new TarReader({
    onEntry: (entry) => entries.push({ ...entry, data: new Uint8Array(0) }),
    onData: (bytes) => {
      const last = entries.at(-1) as Read
      last.data = Uint8Array.from([...last.data, ...bytes])
    },
  })
  for (let at = 0; at < archive.length; at += pieceBytes) reader.push(archive.subarray(at, at + pieceBytes))
  reader.end()
  return entries
}

function write(entries: readonly Read[], end = tarEnd): Uint8Array {
  return Buffer.concat(
    [
      ...entries.flatMap((entry) => [
        encodeTarEntry(entry),
        entry.data,
        new Uint8Array(paddingOf(entry.data.length)),
      ]),
      end,
    ].map((part) => Buffer.from(part)),
  )
}

const file: Read = {
  ...{
    kind: 'file',
    name: 'etc/hostname',
    linkName: '',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 3,
    mtime: 1,
    major: 0,
    minor: 0,
  },
  xattrs: new Map(),
  data: new Uint8Array([1, 2, 3]),
}

const bytes = (max: number) => fc.uint8Array({ minLength: 1, maxLength: max })
const name = bytes(300).map((some) => toByteString(some.map((byte) => byte || 0x2e)))
const anyEntry = fc
  .record({
    kind: fc.constantFrom('file', 'directory', 'symlink', 'link', 'character', 'block', 'fifo'),
    name,
    linkName: name,
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: fc.integer({ min: 0, max: 0xffff_fffe }),
    gid: fc.integer({ min: 0, max: 0xffff_fffe }),
    mtime: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    major: fc.integer({ min: 0, max: 0o7777777 }),
    minor: fc.integer({ min: 0, max: 0o7777777 }),
    xattrs: fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,8}\.[a-z.]{1,20}$/), bytes(40)), { maxLength: 3 }),
    data: fc.uint8Array({ maxLength: 1500 }),
  })
  .map(({ data, xattrs, ...entry }): Read => {
    const some = entry.kind === 'file' ? data : new Uint8Array(0)
    return { ...entry, size: some.length, data: some, xattrs: new Map(xattrs) } as Read
  })

describe('an archive that we wrote', () => {
  test('is read back as it was, however it is cut into pieces: bytes in names, large ids, times before 1970, binary xattrs', () => {
    fc.assert(
      fc.property(
        fc.array(anyEntry, { maxLength: 4 }),
        fc.integer({ min: 1, max: 1400 }),
        (entries, piece) => {
          expect(read(write(entries), piece)).toEqual(entries)
        },
      ),
    )
  })

  test('is the same for the same entries, whatever order their xattrs were found in', () => {
    const xattrs: [string, Uint8Array][] = [
      ['user.b', new Uint8Array([1])],
      ['user.a', new Uint8Array([2])],
    ]
    const one = write([{ ...file, xattrs: new Map(xattrs) }])
    expect(write([{ ...file, xattrs: new Map(xattrs.reverse()) }])).toEqual(one)
  })

  test('is read by GNU tar, long names and all', () => {
    const long = `${'d'.repeat(120)}/${'f'.repeat(200)}`
    const archive = write([
      { ...file, name: long, uid: 3_000_000, mtime: 86_400 },
      { ...file, kind: 'symlink', name: 'link', linkName: long, size: 0, data: new Uint8Array(0) },
    ])
    const listed = execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--utc'], {
      input: archive,
      encoding: 'utf8',
    })
    expect(listed).toMatch(new RegExp(`^-rw-r--r-- 3000000/0 +3 1970-01-02 00:00 ${long}$`, 'm'))
    expect(listed).toMatch(new RegExp(`^lrw-r--r-- 0/0 +0 1970-01-01 00:00 link -> ${long}$`, 'm'))
  })
})

describe("other programs' archives", () => {
  test.each(['gnu', 'oldgnu', 'pax', 'posix', 'ustar', 'v7'])(
    'GNU tar in its format %s: files, folders, links of both kinds',
    async (format) => {
      const folder = await mkdtemp(join(tmpdir(), 'muster-tar-'))
      onTestFinished(() => rm(folder, { recursive: true }))
      const long = ['gnu', 'oldgnu', 'pax', 'posix'].includes(format) ? 'ü'.repeat(110) : 'ü'
      await mkdir(join(folder, 'd'))
      await writeFile(join(folder, 'd', long), 'hello')
      await chmod(join(folder, 'd', long), 0o4711)
      await link(join(folder, 'd', long), join(folder, 'd/z'))
      await symlink(`../d/${long}`, join(folder, 's'))
      const archive = execFileSync(
        'tar',
        [
          '--create',
          `--format=${format}`,
          '--sort=name',
          '--owner=7',
          '--group=8',
          '--mtime=@99',
          '-C',
          folder,
          'd',
          's',
        ],
        { maxBuffer: 1e8 },
      )
      const entries = read(archive, 777)
      const raw = toByteString(Buffer.from(long))
      expect(entries.map(({ kind, name, linkName }) => [kind, name, linkName])).toEqual([
        ['directory', 'd/', ''],
        // In the order of their bytes, z stands before an umlaut.
        ['file', 'd/z', ''],
        ['link', `d/${raw}`, 'd/z'],
        ['symlink', 's', `../d/${raw}`],
      ])
      expect(entries[1]).toMatchObject({ mode: 0o4711, uid: 7, gid: 8, mtime: 99, size: 5 })
      expect(Buffer.from(entries[1]?.data ?? []).toString()).toBe('hello')
    },
  )

  test('a size of more than 8 GB stands in base 256 or in a pax record, and both are read', () => {
    const size = 9 * 1024 ** 3
    const big = { ...file, size }
    const seen: number[] = []
    const reader = () => new TarReader({ onEntry: (entry) => seen.push(entry.size), onData: () => {} })
    reader().push(encodeTarEntry(big))
    const binary = Buffer.from(encodeTarEntry(file))
    binary.set([0x80, 0, 0, 0, 0, 0, 0, 2, 0x40, 0, 0, 0], 124)
    reader().push(withChecksum(binary))
    expect(seen).toEqual([size, size])
  })

  test('a global pax header changes nothing of what follows, as container tools have always read it', () => {
    const pax = Buffer.from(encodeTarEntry({ ...file, uid: 4_000_000 }))
    pax[156] = 'g'.charCodeAt(0)
    const archive = Buffer.concat([withChecksum(pax), file.data, new Uint8Array(paddingOf(3)), tarEnd])
    expect(read(archive)[0]?.uid).toBe(0)
  })
})

describe('an archive that is not right', () => {
  const headerWith = (at: number, text: string) => {
    const block = Buffer.from(encodeTarEntry(file))
    block.write(text, at, 'latin1')
    return withChecksum(block)
  }

  test.each<[string, Uint8Array]>([
    ['cut within a header', encodeTarEntry(file).subarray(0, 300)],
    ['cut within data', Buffer.concat([encodeTarEntry(file), file.data])],
    ['a pax header and nothing behind it', encodeTarEntry({ ...file, uid: 4_000_000 }).subarray(0, 1024)],
    ['a wrong checksum', Buffer.from(encodeTarEntry(file)).fill('9', 100, 101)],
    ['no tar at all', Buffer.from('x'.repeat(1024))],
    ['a type that no file system has', headerWith(156, 'S')],
    ['a size that is no number', headerWith(124, '9zz')],
    ['a name with a NUL', write([{ ...file, name: `a\0${'b'.repeat(200)}` }])],
    ['a name longer than Linux has', write([{ ...file, name: 'n'.repeat(5000) }])],
    ['an owner of 2^32 - 1', write([{ ...file, uid: 0xffff_ffff }])],
    ['a pax header of a gigabyte', withChecksum(Buffer.from(headerWith(156, 'x')).fill('7', 124, 135))],
    [
      'xattrs of more than 64 KiB',
      write([{ ...file, xattrs: new Map([['user.x', new Uint8Array(70_000)]]) }]),
    ],
    ['a sparse file', withRecord('GNU.sparse.major', '1')],
    ['a pax record that says it is longer', withRecord('uid', '7', (text) => text.replace(/^\d+/, '99'))],
    ['a pax record without its newline', withRecord('uid', '7', (text) => text.replace('\n', ' '))],
  ])('%s', (_, archive) => {
    expect(thrownCode(() => read(archive))).toBe('layer-invalid')
  })

  test('random and damaged bytes give nothing but our errors', () => {
    const good = write([
      file,
      { ...file, uid: 9_000_000, xattrs: new Map([['user.a', new Uint8Array([0xff])]]) },
    ])
    const damaged = fc
      .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 })
      .map((changes) => {
        const bad = Uint8Array.from(good)
        for (const [at, value] of changes) bad[at] = value
        return bad
      })
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 3000 }), damaged, damaged.map(rightChecksums)),
        (archive) => {
          try {
            read(archive, 500)
          } catch (error) {
            expect(error).toBeInstanceOf(MusterError)
            expect((error as MusterError).code).toBe('layer-invalid')
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})

/** So that damage behind the checksum is reached. */
function rightChecksums(archive: Uint8Array): Uint8Array {
  const bytes = Buffer.from(archive)
  for (let at = 0; at + 512 <= bytes.length; at += 512)
    if (bytes.subarray(at + 257, at + 262).toString() === 'ustar') withChecksum(bytes.subarray(at, at + 512))
  return bytes
}

function withChecksum<Bytes extends Buffer>(block: Bytes): Bytes {
  block.fill(' ', 148, 156)
  const sum = block.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** A file with a pax header of one record, which may be changed as text. */
function withRecord(key: string, value: string, change = (text: string) => text): Uint8Array {
  const record = `${String(key.length + value.length + 5)
    .padStart(2, '0')
    .replace(/^0/, '')} ${key}=${value}\n`
  const length = record.length
  const text = change(record.replace(/^\d+/, String(length)))
  const pax = withChecksum(
    Buffer.from(encodeTarEntry({ ...file, name: 'pax', size: text.length })).fill('x', 156, 157),
  )
  return Buffer.concat([pax, toBytes(text), new Uint8Array(paddingOf(text.length)), write([file])])
}
