/** What a signed plan could smuggle into the booted system: kernel arguments, files, curl options. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkArguments, commandLine } from '../../src/agent/arguments.ts'
import { type ArchiveFile, checkFiles, encodeCpio } from '../../src/agent/cpio.ts'
import { curlConfig } from '../../src/agent/curl.ts'
import { defaultLimits } from '../../src/agent/limits.ts'
import { MusterError } from '../../src/errors.ts'
import { defaultArgumentPolicy } from '../../src/protocol/agent-config.ts'
import { mirror } from '../../src/protocol/hello.ts'

const refused = (code: string) => expect.objectContaining({ code })

describe('kernel arguments of a plan', () => {
  test.each([
    'console=ttyS0,115200',
    'quiet',
    'earlycon',
    'console=tty0',
    'console=ttyAMA0,115200n8r',
    'earlycon=efifb',
    'muster.hello=poweroff',
    'ip=dhcp',
  ])('%s passes the default policy', (argument) => {
    expect(() => checkArguments([argument], defaultArgumentPolicy)).not.toThrow()
  })

  test.each([
    'init=/bin/sh',
    'rdinit=/bin/sh',
    'quiet\ninit=/bin/sh',
    'muster.note="x',
    "muster.note='x",
    'muster.note=a\\b',
    'muster.x=1 -- init=/bin/sh',
    '--',
    'muster.\u00e9=1',
    'muster.x=\0',
    'muster.x=\t',
    'root=/dev/sda1',
    'quiet=1',
    'consolex=ttyS0',
    'console',
    'musterx',
    'muster.',
    '',
    ' ',
    `muster.x=${'a'.repeat(256)}`,
  ])('%j is refused by the default policy', (argument) => {
    expect(() => checkArguments([argument], defaultArgumentPolicy)).toThrow(refused('argument-refused'))
  })

  test.each([
    'console=uart8250,mmio,0x1000000,115200n8',
    'console=uart8250,io,0xcf9',
    'console=uart,mmio32,16777216',
    'earlycon=pl011,0x9000000',
    'earlycon=pl011,mmio32,0x9000000',
    'earlycon=uart8250,io,0x3f8',
    'earlycon=uart,16777216,115200',
  ])('%s aims the kernel at an address, which no wildcard covers', (argument) => {
    expect(() => checkArguments([argument], defaultArgumentPolicy)).toThrow(refused('argument-refused'))
    expect(() => checkArguments([argument], [argument])).not.toThrow()
  })

  test('a policy cannot allow another first program', () => {
    expect(() => checkArguments(['init=/x'], ['init=*', 'init.*', 'init=/x', '*'])).toThrow(
      refused('argument-refused'),
    )
    expect(() => checkArguments(['rdinit'], ['rdinit'])).toThrow(refused('argument-refused'))
  })

  test('whatever passes is one word that begins with an allowed name', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc
        .tuple(
          fc.constantFrom('console=', 'muster.', 'quiet', 'ip='),
          fc.string({ unit: 'binary', maxLength: 20 }),
        )
        .map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(hostile, (argument) => {
        try {
          checkArguments([argument], ['console=*', 'muster.*', 'quiet', 'ip=*'])
        } catch (error) {
          expect(error).toMatchObject({ code: 'argument-refused' })
          return
        }
        expect(argument).toMatch(/^(?:console=|muster\.|quiet$|ip=)[\x21-\x7e]*$/)
        expect(commandLine('root=/dev/ram0', [argument], 2047).split(' ')).toEqual([
          'root=/dev/ram0',
          argument,
        ])
      }),
    )
  })
})

describe('the command line', () => {
  test('is the signed one, then what the plan adds', () => {
    expect(commandLine('root=/dev/ram0  ro\n', ['console=ttyS0'], 2047)).toBe(
      'root=/dev/ram0 ro console=ttyS0',
    )
    expect(commandLine('', [], 2047)).toBe('')
  })
  test('keeps what the plan adds from init, where the signed one has arguments for it', () => {
    expect(commandLine('ro -- single', ['quiet'], 2047)).toBe('ro quiet -- single')
    expect(commandLine('ro "--" single', ['quiet'], 2047)).toBe('ro quiet "--" single')
  })
  test('keeps the quotes of the signed one', () => {
    expect(commandLine('dyndbg="file x +p" ro', ['quiet'], 2047)).toBe('dyndbg="file x +p" ro quiet')
  })
  test.each([
    ['with an open quote', 'dyndbg="file x', []],
    ['of two lines', 'ro\nrw', []],
    ['longer than the kernel takes', 'a'.repeat(2040), ['console=ttyS0']],
  ])('%s is refused', (_, signed, args) => {
    expect(() => commandLine(signed, args, 2047)).toThrow(refused('argument-refused'))
  })
})

const file = (change: object) => ({ name: 'a', mode: 0o600, bytes: '', ...change })

describe('files of a plan', () => {
  test.each([
    ['../init', 0o600],
    ['/init', 0o600],
    ['a/b', 0o600],
    ['.', 0o600],
    ['..', 0o600],
    ['.hidden', 0o600],
    ['', 0o600],
    ['a\0b', 0o600],
    ['a b', 0o600],
    ['a'.repeat(65), 0o600],
    ['link', 0o120777],
    ['device', 0o020600],
    ['setuid', 0o4755],
    ['everybody', 0o666],
    ['typed', 0o100644],
    ['negative', -1],
    ['fraction', 0.5],
    ['huge', 2 ** 40],
  ])('%j with mode %s is refused', (name, mode) => {
    expect(() => checkFiles([file({ name, mode })])).toThrow(refused('file-refused'))
  })

  test('two of one name, content that is none, and too much content are refused', () => {
    expect(() => checkFiles([file({}), file({})])).toThrow(refused('file-refused'))
    expect(() => checkFiles([file({ bytes: '====' })])).toThrow(refused('file-refused'))
    const large = Buffer.alloc(65_537).toString('base64')
    expect(() => checkFiles([file({ bytes: large })])).toThrow(refused('file-refused'))
  })

  test('fail with our own error only, and what passes is a flat name with plain permissions', () => {
    const hostile = fc.record({
      name: fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('report.json', 'kubeadm.yaml')),
      mode: fc.oneof(fc.integer(), fc.double(), fc.constantFrom(0o600, 0o644, 0o755)),
      bytes: fc.oneof(fc.string(), fc.base64String()),
    })
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 3 }), (files) => {
        try {
          for (const { name, mode } of checkFiles(files)) {
            expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*$/)
            expect(mode & ~0o755).toBe(0)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(MusterError)
          expect(error).toMatchObject({ code: 'file-refused' })
        }
      }),
    )
  })
})

describe('the archive', () => {
  test('holds one folder and regular files, as a reader of newc sees it', () => {
    const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
    const some = fc.record({
      name,
      mode: fc.constantFrom(0o600, 0o644, 0o755),
      bytes: fc.uint8Array({ maxLength: 200 }),
    })
    fc.assert(
      fc.property(
        fc.uniqueArray(some, { selector: (one) => one.name, minLength: 1, maxLength: 5 }),
        (files) => {
          const archive = encodeCpio(files)
          expect(archive.length % 512).toBe(0)
          const [folder, ...rest] = readCpio(archive)
          expect(folder).toEqual({ name: 'muster', mode: 0o040755, bytes: Buffer.alloc(0) })
          expect(rest).toEqual(
            files.map((one) => ({
              name: `muster/${one.name}`,
              mode: 0o100000 | one.mode,
              bytes: Buffer.from(one.bytes),
            })),
          )
        },
      ),
    )
  })

  test('is the same bytes for the same files, and none without files', () => {
    const files = [{ name: 'a', mode: 0o600, bytes: Buffer.from('x') }]
    expect(encodeCpio(files)).toEqual(encodeCpio(files))
    expect(encodeCpio([]).length).toBe(0)
  })
})

/** newc, read by the book: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. */
function readCpio(archive: Uint8Array): ArchiveFile[] {
  const buffer = Buffer.from(archive)
  const files: ArchiveFile[] = []
  for (let at = 0; ; ) {
    expect(buffer.toString('latin1', at, at + 6)).toBe('070701')
    const field = (index: number) =>
      Number.parseInt(buffer.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16)
    const [mode, size, nameSize] = [field(1), field(6), field(11)]
    const name = buffer.toString('utf8', at + 110, at + 110 + nameSize - 1)
    if (name === 'TRAILER!!!') return files
    const start = Math.ceil((at + 110 + nameSize) / 4) * 4
    files.push({ name, mode, bytes: buffer.subarray(start, start + size) })
    at = Math.ceil((start + size) / 4) * 4
  }
}

describe('the URL of a mirror', () => {
  const url = (text: string) => mirror.safeParse({ kind: 'static', url: text }).success

  test.each(['http://192.0.2.1:8080/tuf/main', 'https://[2001:db8::1]/v2/hello', 'https://mirror.example/ä'])(
    '%s is one',
    (text) => expect(url(text)).toBe(true),
  )

  test('holds no control character, no space and nothing that quotes', () => {
    const forbidden = Array.from({ length: 0x21 }, (_, code) => String.fromCharCode(code))
    for (const character of [...forbidden, '\x7f', '\u00a0', '\u2028', '"', "'", '\\'])
      expect([character, url(`https://mirror.example/a${character}b`)]).toEqual([character, false])
  })
})

describe("curl's options", () => {
  test('a URL or header of a stranger stays one value', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const lines = curlConfig(defaultLimits, { url: text, headers: { x: text }, maxBytes: 1 }).split('\n')
        const names = lines.filter((line) => line !== '').map((line) => line.split(' ')[0])
        expect(names).toEqual([
          ...[
            'url',
            'proto',
            'insecure',
            'silent',
            'show-error',
            'globoff',
            'connect-timeout',
            'speed-limit',
          ],
          ...['speed-time', 'max-filesize', 'write-out', 'request', 'fail', 'header'],
        ])
      }),
    )
  })
})
