import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lockedPackages, parseLock } from '../../src/builder/lock.ts'
import { refreshLock } from '../../src/builder/refresh.ts'
import { skipReason, tool } from '../support/tools.ts'
import { createArchive } from './archive-simulator.ts'

const xzProgram = tool('xz')
const xz = (bytes: Buffer) => execFileSync(xzProgram!, ['-c'], { input: bytes })
const needsXz = xzProgram === undefined ? ` (${skipReason('xz')})` : ''

const paragraph = (name: string, version: string, depends = '') =>
  `Package: ${name}\nVersion: ${version}\nFilename: pool/main/x/${name}_${version}_amd64.deb\nSize: 10\nSHA256: ${'a'.repeat(64)}\n${depends}`
const packagesOf = (version: string) =>
  [
    paragraph('quickjs', version, 'Depends: libc6'),
    paragraph('libc6', '2.41-12'),
    paragraph('linux-image-amd64', '6.12', 'Depends: linux-image-6.12-amd64 (= 6.12)'),
    paragraph('linux-image-6.12-amd64', '6.12'),
  ].join('\n\n')

const monday = 'Mon, 14 Sep 2026 07:00:00 UTC'
const sunday = 'Sun, 13 Sep 2026 07:00:00 UTC'

let folder: string
let lockFile: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-refresh-'))
  lockFile = join(folder, 'packages.lock')
  await writeFile(
    join(folder, 'packages.yaml'),
    `suite: trixie\ncomponents: [main]\nsets: { agent: [quickjs], kernel: ['linux-image-{arch}'] }\nmeta: ['linux-image-{arch}']\nwithout: []\n`,
  )
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

async function refresh(archive: { url: string; key: string }) {
  await writeFile(join(folder, 'archive.asc'), archive.key)
  return await refreshLock({ architectures: ['amd64'], mirror: archive.url, lockFile, keysFolder: folder })
}

describe.skipIf(xzProgram === undefined)(`a refreshed lock${needsXz}`, () => {
  test('names each package with what the signed index says, and the real kernel instead of the one that points to it', async () => {
    await using archive = await createArchive()
    archive.publish(packagesOf('1.0-1'), { date: monday, xz })
    await refresh(archive)
    const lock = parseLock(await readFile(lockFile, 'utf8'), lockFile)
    expect(lock.date).toBe('2026-09-14T07:00:00Z')
    expect(lockedPackages(lock, ['agent'], 'amd64').map(({ name }) => name)).toEqual(['libc6', 'quickjs'])
    expect(lockedPackages(lock, ['kernel'], 'amd64').map(({ name }) => name)).toEqual([
      'linux-image-6.12-amd64',
    ])
  })

  test('says what changed', async () => {
    await using archive = await createArchive()
    archive.publish(packagesOf('1.0-1'), { date: sunday, xz })
    await refresh(archive)
    archive.publish(packagesOf('1.1-1'), { date: monday, xz })
    expect((await refresh(archive)).changes).toEqual(['quickjs (amd64): 1.0-1 → 1.1-1'])
  })

  test('is not made from an archive older than the lock, which would bring back what was repaired', async () => {
    await using archive = await createArchive()
    archive.publish(packagesOf('1.1-1'), { date: monday, xz })
    await refresh(archive)
    archive.publish(packagesOf('1.0-1'), { date: sunday, xz })
    await expect(refresh(archive)).rejects.toMatchObject({ code: 'build-failed' })
    expect(await readFile(lockFile, 'utf8')).toContain('1.1-1')
  })

  test.each([
    ['whose InRelease was changed', '/dists/trixie/InRelease', 'build-failed'],
    ['whose index was changed', '/dists/trixie/main/binary-amd64/Packages.xz', 'download-failed'],
  ])('is not made from an archive %s', async (_, path, code) => {
    await using archive = await createArchive()
    archive.publish(packagesOf('1.0-1'), { date: monday, xz })
    archive.tamper(path, (bytes) => Buffer.from(bytes.toString('latin1').replace(/Sep|.$/, 'Oct'), 'latin1'))
    await expect(refresh(archive)).rejects.toMatchObject({ code })
  })

  test('is not made from an archive that another key signs', async () => {
    await using archive = await createArchive()
    await using other = await createArchive()
    archive.publish(packagesOf('1.0-1'), { date: monday, xz })
    await expect(refresh({ url: archive.url, key: other.key })).rejects.toMatchObject({
      code: 'build-failed',
    })
  })

  test('is not made from another suite than the one wanted', async () => {
    await using archive = await createArchive()
    archive.publish(packagesOf('1.0-1'), { date: monday, xz, codename: 'sid' })
    await expect(refresh(archive)).rejects.toMatchObject({ code: 'build-failed' })
  })
})

test('a mirror that does not answer is named', async () => {
  await expect(refresh({ url: 'http://127.0.0.1:9/debian', key: '' })).rejects.toMatchObject({
    code: 'download-failed',
    message: expect.stringContaining('http://127.0.0.1:9/debian'),
  })
})
