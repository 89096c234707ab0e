import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CpioEntry, encodeCpio } from '../../src/builder/cpio.ts'
import { MusterError } from '../../src/errors.ts'

const file = (path: string, text = '', mode = 0o644): CpioEntry => ({
  type: 'file',
  path,
  mode,
  bytes: Buffer.from(text),
})

type Record = {
  name: string
  ino: number
  mode: number
  uid: number
  gid: number
  links: number
  mtime: number
  data: Buffer
  rdev: [number, number]
}

/** An independent reader, written from the kernel's description of the format. */
function readCpio(bytes: Buffer): Record[] {
  const records: Record[] = []
  let at = 0
  for (;;) {
    expect(bytes.toString('latin1', at, at + 6)).toBe('070701')
    const f = Array.from({ length: 13 }, (_, i) =>
      Number.parseInt(bytes.toString('latin1', at + 6 + i * 8, at + 14 + i * 8), 16),
    ) as number[]
    const name = bytes.toString('utf8', at + 110, at + 110 + f[11]! - 1)
    const start = (at + 110 + f[11]! + 3) & ~3
    const data = bytes.subarray(start, start + f[6]!)
    at = (start + f[6]! + 3) & ~3
    if (name === 'TRAILER!!!') break
    records.push({
      name,
      ino: f[0]!,
      mode: f[1]!,
      uid: f[2]!,
      gid: f[3]!,
      links: f[4]!,
      mtime: f[5]!,
      data,
      rdev: [f[9]!, f[10]!],
    })
  }
  expect(at).toBe(bytes.length)
  return records
}

describe('a cpio archive for the kernel', () => {
  test('has every file, link and device with its mode, owned by root, at time zero', () => {
    const records = readCpio(
      encodeCpio([
        file('usr/bin/qjs', 'program', 0o755),
        { type: 'symlink', path: 'bin', target: 'usr/bin' },
        { type: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
      ]),
    )
    expect(records.map(({ name, mode }) => [name, mode.toString(8)])).toEqual([
      ['bin', '120777'],
      ['dev', '40755'],
      ['dev/console', '20600'],
      ['usr', '40755'],
      ['usr/bin', '40755'],
      ['usr/bin/qjs', '100755'],
    ])
    expect(records.every(({ uid, gid, mtime }) => uid === 0 && gid === 0 && mtime === 0)).toBe(true)
    expect(records.find(({ name }) => name === 'dev/console')?.rdev).toEqual([5, 1])
    expect(records.find(({ name }) => name === 'bin')?.data.toString()).toBe('usr/bin')
  })

  test('is the same bytes whatever order its files come in', () => {
    const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}(\/[a-z]{1,4}){0,2}\/f[0-9]{1,3}$/), {
      maxLength: 20,
    })
    fc.assert(
      fc.property(names, fc.infiniteStream(fc.nat()), (paths, keys) => {
        const entries = paths.map((path) => file(path, path.repeat(3)))
        const shuffled = entries
          .map((entry) => ({ entry, key: keys.next().value! }))
          .sort((a, b) => a.key - b.key)
        expect(encodeCpio(shuffled.map(({ entry }) => entry))).toEqual(encodeCpio(entries))
      }),
    )
  })

  test('gives back what was put in', () => {
    const contents = fc.dictionary(
      fc.stringMatching(/^[a-zA-Z0-9._-]{3,12}$/),
      fc.uint8Array({ maxLength: 64 }),
      { maxKeys: 12, noNullPrototype: true },
    )
    fc.assert(
      fc.property(contents, (files) => {
        const entries = Object.entries(files).map(
          ([path, bytes]): CpioEntry => ({ type: 'file', path, mode: 0o600, bytes }),
        )
        fc.pre(entries.every(({ path }) => !/^\.\.?$/.test(path)))
        const read = Object.fromEntries(
          readCpio(encodeCpio(entries)).map(({ name, data }) => [name, new Uint8Array(data)]),
        )
        expect(read).toEqual(
          Object.fromEntries(entries.map((entry) => [entry.path, 'bytes' in entry && entry.bytes])),
        )
      }),
    )
  })

  test('puts a folder before what is in it, or the kernel could not make the file', () => {
    const names = readCpio(encodeCpio([file('a.b/x'), file('a/x'), file('a/b/c/x')])).map(({ name }) => name)
    for (const name of names.filter((each) => each.includes('/')))
      expect(names.indexOf(name.slice(0, name.lastIndexOf('/')))).toBeLessThan(names.indexOf(name))
  })

  test.each(['/init', 'a//b', 'a/../b', './init', '', 'a\0b'])('refuses %j as a path', (path) => {
    expect(codeOf(() => encodeCpio([file(path)]))).toBe('build-failed')
  })

  test('refuses the same path twice', () => {
    expect(codeOf(() => encodeCpio([file('init'), file('init')]))).toBe('build-failed')
  })
})

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof MusterError) return error.code
    throw error
  }
  return 'no error'
}
