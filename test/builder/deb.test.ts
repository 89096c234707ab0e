import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decompressXz, readDeb } from '../../src/builder/deb.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { skipReason, tool } from '../support/tools.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-deb-'))
})
afterAll(async () => rm(folder, { recursive: true, force: true }))

async function tar(): Promise<Buffer> {
  const archive = pack()
  archive.entry({ name: './usr/', type: 'directory' })
  archive.entry({ name: './usr/bin/qjs', mode: 0o755 }, 'program')
  archive.entry({ name: './bin/old', mode: 0o755 }, 'from before the merge')
  archive.entry({ name: './usr/share/doc/qjs/readme' }, 'never wanted')
  archive.entry({ name: './usr/lib/libx.so.1', type: 'symlink', linkname: 'libx.so.1.2' })
  archive.entry({ name: './usr/bin/qjs-again', type: 'link', linkname: './usr/bin/qjs' })
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** deb(5), byte by byte. */
function ar(members: [string, Buffer][]): Buffer {
  const parts = members.flatMap(([name, bytes]) => [
    Buffer.from(
      `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(bytes.length).padEnd(10)}\`\n`,
    ),
    bytes,
    Buffer.alloc(bytes.length % 2, '\n'),
  ])
  return Buffer.concat([Buffer.from('!<arch>\n'), ...parts])
}

async function deb(name: string, data: Buffer): Promise<string> {
  const path = join(folder, `${name}.deb`)
  await writeFile(
    path,
    ar([
      ['debian-binary', Buffer.from('2.0\n')],
      ['control.tar.gz', gzipSync('x')],
      [name, data],
    ]),
  )
  return path
}

test('a package whose file leaves the folder that it is unpacked into is none', async () => {
  for (const name of ['./usr/bin/../../../etc/passwd', '../etc/passwd', './usr/bin/..']) {
    const archive = pack()
    archive.entry({ name, type: 'symlink', linkname: '/etc' })
    archive.finalize()
    const bytes = Buffer.concat(await Array.fromAsync(archive as AsyncIterable<Buffer>))
    const read = readDeb(await deb('data.tar', bytes), () => true)
    await expect(read, name).rejects.toMatchObject({ code: 'build-failed' })
  }
})

const xz = tool('xz')
const wanted = (path: string) => path.startsWith('usr/bin/')

describe('a Debian package', () => {
  test.each([
    ['data.tar', (bytes: Buffer) => bytes],
    ['data.tar.gz', (bytes: Buffer) => gzipSync(bytes)],
    ['data.tar.zst', (bytes: Buffer) => zstdCompressSync(bytes)],
  ])('is read from %s: wanted files, links, nothing else', async (name, compress) => {
    const entries = await readDeb(await deb(name, compress(await tar())), wanted)
    expect([...entries.keys()].sort()).toEqual([
      'usr/bin/old',
      'usr/bin/qjs',
      'usr/bin/qjs-again',
      'usr/lib/libx.so.1',
    ])
    expect(entries.get('usr/bin/qjs')).toMatchObject({ mode: 0o755, bytes: Buffer.from('program') })
    expect(entries.get('usr/bin/qjs-again')).toMatchObject({ type: 'file', bytes: Buffer.from('program') })
    expect(entries.get('usr/lib/libx.so.1')).toMatchObject({ type: 'symlink', target: 'libx.so.1.2' })
  })

  test.skipIf(xz === undefined)(
    `is read from data.tar.xz as xz made it${xz ? '' : ` (${skipReason('xz')})`}`,
    async () => {
      const archive = await tar()
      const data = execFileSync(xz!, ['-c'], { input: archive })
      const entries = await readDeb(await deb('data.tar.xz', data), wanted)
      expect(entries.get('usr/bin/qjs')).toMatchObject({ bytes: Buffer.from('program') })
      expect((await decompressXz(data, 'x')).equals(archive)).toBe(true)
      await expect(decompressXz(data.subarray(0, data.length - 20), 'cut')).rejects.toMatchObject({
        code: 'build-failed',
      })
      const cut = await deb('data.tar.xz', data.subarray(0, data.length >> 1))
      await expect(readDeb(cut, wanted)).rejects.toMatchObject({ code: 'build-failed' })
    },
  )

  test('that ends early is refused, not read as far as it goes', async () => {
    const whole = await readFile(await deb('data.tar.gz', gzipSync(await tar())))
    for (const bytes of [
      whole.subarray(0, 30),
      whole.subarray(0, 200),
      whole.subarray(0, whole.length - 40),
    ]) {
      const path = join(folder, 'short.deb')
      await writeFile(path, bytes)
      await expect(readDeb(path, wanted)).rejects.toMatchObject({ code: 'build-failed' })
    }
  })

  test.each(['data.tar.lzma', 'control.tar'])(
    'without a data.tar that we know (%s) is refused',
    async (name) => {
      await expect(readDeb(await deb(name, Buffer.from('x')), wanted)).rejects.toMatchObject({
        code: 'build-failed',
      })
    },
  )

  test('of random bytes ends in our error and nothing else', async () => {
    const path = join(folder, 'random.deb')
    const headed = fc.tuple(
      fc.constantFrom('', '!<arch>\n', `!<arch>\n${'data.tar'.padEnd(48)}`),
      fc.uint8Array({ maxLength: 300 }),
    )
    await fc.assert(
      fc.asyncProperty(headed, async ([head, bytes]) => {
        await writeFile(path, Buffer.concat([Buffer.from(head), bytes]))
        const code = await readDeb(path, () => true).then(() => 'build-failed', errorCodeOf)
        expect(code).toBe('build-failed')
      }),
      { numRuns: 60 },
    )
  })
})
