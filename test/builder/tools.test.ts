import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Lock } from '../../src/builder/lock.ts'
import { ensureTools } from '../../src/builder/tools.ts'

const arch = process.arch === 'arm64' ? 'arm64' : 'amd64'
const loader = arch === 'amd64' ? 'usr/lib64/ld-linux-x86-64.so.2' : 'usr/lib/ld-linux-aarch64.so.1'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-tools-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

/** A package in the cache and the lock that names it, so that nothing is fetched. */
async function lockWith(files: Record<string, string | Buffer | { link: string }>): Promise<Lock> {
  const archive = pack()
  for (const [name, content] of Object.entries(files))
    if (typeof content === 'object' && 'link' in content)
      archive.entry({ name: `./${name}`, type: 'symlink', linkname: content.link })
    else archive.entry({ name: `./${name}`, mode: 0o755 }, content)
  archive.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of archive) chunks.push(chunk as Buffer)
  const data = gzipSync(Buffer.concat(chunks))
  const header = `${'data.tar.gz'.padEnd(48)}${String(data.length).padEnd(10)}\`\n`
  const deb = Buffer.concat([Buffer.from(`!<arch>\n${header}`), data])
  await writeFile(join(folder, 'xz_1_any.deb'), deb)
  const sha256 = createHash('sha256').update(deb).digest('hex')
  const item = {
    name: 'xz-utils',
    version: '1',
    architectures: [arch],
    sets: ['xz'],
    path: 'pool/x/xz_1_any.deb',
    bytes: deb.length,
    sha256,
  } as const
  return {
    apiVersion: 'muster/v1',
    suite: 'trixie',
    date: '2026-09-12T07:55:41Z',
    packages: [{ ...item, architectures: [arch], sets: ['xz'] }],
  }
}

const ensure = (lock: Lock, names = ['xz']) =>
  ensureTools({ names, lock, mirrors: [], cacheDir: folder, folder: join(folder, 'tools') })

describe('a test tool', () => {
  test("is started by its own tree's loader, with its own libraries and the caller's arguments", async () => {
    // A shell script stands for the loader, and says what it was given.
    const lock = await lockWith({ 'usr/bin/xz': 'program', [loader]: '#!/bin/sh\nprintf "%s\\n" "$@"\n' })
    const script = (await ensure(lock)).get('xz')!
    const [option, libraries, program, ...rest] = execFileSync(script, ['-d', 'two words'], {
      encoding: 'utf8',
    })
      .trim()
      .split('\n')
    expect([option, ...rest]).toEqual(['--library-path', '-d', 'two words'])
    expect(libraries).toMatch(/tools\/tree\/usr\/lib\/.*-linux-gnu$/)
    expect(await readFile(program!, 'utf8')).toBe('program')
  })

  test('is unpacked once, and again when its lock changes', async () => {
    const lock = await lockWith({ 'usr/bin/xz': 'one' })
    const program = join(folder, 'tools/tree/usr/bin/xz')
    await ensure(lock)
    const { mtimeMs } = await stat(program)
    await ensure(lock)
    expect((await stat(program)).mtimeMs).toBe(mtimeMs)
    await ensure(await lockWith({ 'usr/bin/xz': 'two' }))
    expect(await readFile(program, 'utf8')).toBe('two')
  })

  test('whose library is in none of its packages is refused before anyone runs it', async () => {
    const lock = await lockWith({ 'usr/bin/xz': await readFile(process.execPath) })
    await expect(ensure(lock)).rejects.toMatchObject({
      code: 'build-failed',
      message: expect.stringContaining('.so'),
    })
    // A hundred megabytes are packed: on a busy machine that takes its time.
  }, 120_000)

  test.each([
    ['upwards', { 'usr/lib/out': { link: '../../../../elsewhere' } }],
    ['by a link of its own', { 'usr/lib/up': { link: '../..' }, 'usr/lib/up/out': { link: '../elsewhere' } }],
    [
      'behind a link of its own',
      { 'usr/lib/up': { link: '../..' }, 'usr/lib/out': { link: 'up/../elsewhere' } },
    ],
  ])('whose package has a link that leads out of its folder %s is refused', async (_, links) => {
    const lock = await lockWith({ 'usr/bin/xz': 'program', ...links })
    await expect(ensure(lock)).rejects.toMatchObject({
      code: 'build-failed',
      message: expect.stringContaining('leads out'),
    })
  })

  test('has the links of its package that stay inside', async () => {
    const links = {
      'usr/lib/one.so': { link: 'one.so.1' },
      'usr/lib/two': { link: '../bin/xz' },
      'usr/lib/up': { link: '../..' },
    }
    await ensure(await lockWith({ 'usr/bin/xz': 'program', ...links, 'usr/lib/far': { link: '/etc/far' } }))
    expect(await readFile(join(folder, 'tools/tree/usr/lib/two'), 'utf8')).toBe('program')
    expect(await readFile(join(folder, 'tools/tree/usr/lib/up/usr/bin/xz'), 'utf8')).toBe('program')
    await expect(stat(join(folder, 'tools/tree/usr/lib/far'))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('that nobody knows is refused, with those that are known', async () => {
    await expect(ensure(await lockWith({}), ['nmap'])).rejects.toMatchObject({
      code: 'build-failed',
      message: expect.stringContaining('qemu-system-x86_64'),
    })
  })
})
