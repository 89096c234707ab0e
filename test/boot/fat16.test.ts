/** The FAT16 file system of boot.img, judged by dosfstools and mtools. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeFat16 } from '../../src/boot/formats/fat16.ts'
import { skipReason, tool } from '../support/tools.ts'

const [fsck, mcopy] = [tool('fsck.fat'), tool('mcopy')]
const scratch = mkdtempSync(join(tmpdir(), 'muster-fat-'))
let images = 0

type Files = Record<string, Uint8Array>
const text = (content: string) => new Uint8Array(Buffer.from(content))

/** What fsck.fat has to complain of, and the files as mtools reads them. */
function judge(files: Files): { complaints: string; code: number | null; read: Files } {
  images += 1
  const path = join(scratch, `${images}.img`)
  writeFileSync(path, encodeFat16(files, { label: 'muster' }))
  const { status, stdout, stderr } = spawnSync(fsck as string, ['-n', '-v', path], { encoding: 'utf8' })
  const out = mkdtempSync(join(scratch, 'out-'))
  if (Object.keys(files).length > 0) execFileSync(mcopy as string, ['-s', '-n', '-i', path, '::*', out])
  const read = readdirSync(out, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(out, name)).isFile())
    .map((name): [string, Uint8Array] => [name, new Uint8Array(readFileSync(join(out, name)))])
  return { complaints: `${stdout}${stderr}`, code: status, read: Object.fromEntries(read) }
}

const hasJudges = fsck !== undefined && mcopy !== undefined
const why = hasJudges ? '' : ` (${skipReason('fsck.fat')})`

describe.skipIf(!hasJudges)(`a FAT16 file system${why}`, () => {
  test('is in order, and every file comes out as it went in', () => {
    const files: Files = {
      'config.txt': text('arm_64bit=1\n'),
      'bcm2837-rpi-3-b-plus.dtb': new Uint8Array(30_001).fill(7),
      empty: new Uint8Array(),
      'overlays/README': text('overlays'),
      'overlays/deep/er/disable-bt.dtbo': new Uint8Array(511).fill(1),
      'muster-kernel': new Uint8Array(3_000_000).fill(3),
    }
    const { code, complaints, read } = judge(files)
    expect([code, complaints]).toEqual([0, expect.stringContaining('1 FATs, 16 bit entries')])
    expect(Object.keys(read).sort()).toEqual(Object.keys(files).sort())
    for (const [name, bytes] of Object.entries(files))
      expect(Buffer.compare(read[name]!, bytes), name).toBe(0)
  })

  test('takes more than one root folder sector of files, and folders longer than a cluster', () => {
    const names = Array.from({ length: 60 }, (_, index) => `a-rather-long-name-of-overlay-${index}.dtbo`)
    const files = Object.fromEntries(
      names.flatMap((name) => [
        [name, text(name)],
        [`overlays/${name}`, text(`below ${name}`)],
      ]),
    )
    const { code, read } = judge(files)
    expect(code).toBe(0)
    expect(Object.keys(read)).toHaveLength(120)
    expect(read[`overlays/${names[59]}`]).toEqual(text(`below ${names[59]}`))
  })

  test('grows its clusters with its contents, and stays FAT16', () => {
    const { code, complaints } = judge({ 'muster-initramfs': new Uint8Array(60_000_000) })
    expect(code).toBe(0)
    expect(complaints).toContain('1024 bytes per cluster')
  })

  test('whatever the files are called and however long they are', () => {
    const name = fc.stringMatching(/^[a-z0-9][A-Za-z0-9_-]{0,30}(\.[a-z0-9]{1,5})?$/)
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
    const content = fc.nat(5000).map((length) => new Uint8Array(length).fill(length & 0xff))
    // No path is another one's folder, and none is there twice in another case.
    const files = fc.uniqueArray(fc.tuple(path, content), {
      maxLength: 12,
      selector: ([each]) => each.split('/')[0]!.toUpperCase(),
    })
    fc.assert(
      fc.property(files, (entries) => {
        const given = Object.fromEntries(entries)
        const { code, complaints, read } = judge(given)
        expect(code, complaints).toBe(0)
        expect(read).toEqual(given)
      }),
      { numRuns: 25 },
    )
  })
})

test('the same files give the same bytes, whatever their order', () => {
  const one = encodeFat16({ b: text('1'), 'a/c': text('2') }, { label: 'x' })
  const two = encodeFat16({ 'a/c': text('2'), b: text('1') }, { label: 'x' })
  expect(Buffer.compare(one, two)).toBe(0)
})

test.each([
  ['a name that FAT does not hold', { 'a:b': text('') }],
  ['a name of dots', { '../up': text('') }],
  ['an empty part', { 'a//b': text('') }],
  ['two names that differ in case alone', { 'Config.txt': text(''), 'config.txt': text('') }],
  ['a file that is a folder too', { a: text(''), 'a/b': text('') }],
])('%s is refused', (_, files) => {
  expect(() => encodeFat16(files as unknown as Files, { label: 'x' })).toThrow(
    expect.objectContaining({ code: 'build-failed' }),
  )
})
