import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { createBootFiles } from '../../src/boot/files.ts'
import { parseBootName } from '../../src/boot/names.ts'
import { openBelow } from '../../src/boot/operator-files.ts'

const outside = mkdtempSync(join(tmpdir(), 'muster-outside-'))
const folder = mkdtempSync(join(tmpdir(), 'muster-files-'))

beforeAll(() => {
  writeFileSync(join(outside, 'secret'), 'secret')
  mkdirSync(join(folder, 'deep/er'), { recursive: true })
  writeFileSync(join(folder, 'deep/er/vmlinuz'), 'kernel')
  writeFileSync(join(folder, '.hidden'), 'hidden')
  symlinkSync(join(outside, 'secret'), join(folder, 'leak'))
  symlinkSync(outside, join(folder, 'leakdir'))
  symlinkSync('deep/er/vmlinuz', join(folder, 'current'))
  execFileSync('mkfifo', [join(folder, 'pipe')])
})

async function contentOf(name: string): Promise<string> {
  const { handle } = await openBelow(folder, name)
  try {
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

describe("the operator's files folder", () => {
  test('a file in a folder of the folder is served', async () => {
    expect(await contentOf('deep/er/vmlinuz')).toBe('kernel')
  })
  test('a link that stays inside is followed', async () => {
    expect(await contentOf('current')).toBe('kernel')
  })
  test('a link that leads out is refused, as a file and as a folder', async () => {
    await expect(openBelow(folder, 'leak')).rejects.toMatchObject({ code: 'access-denied' })
    await expect(openBelow(folder, 'leakdir/secret')).rejects.toMatchObject({ code: 'access-denied' })
  })
  test.each([
    '../secret',
    'deep/../../x',
    '/etc/passwd',
    'a//b',
    './deep/er/vmlinuz',
    '.hidden',
    'deep\\er',
    'a\0b',
    '',
    '..',
    'x'.repeat(300),
  ])('the name %j is refused by its shape', async (name) => {
    await expect(openBelow(folder, name)).rejects.toMatchObject({ code: 'access-denied' })
  })
  test('a folder, a FIFO and a missing file are not found, and nobody hangs', async () => {
    for (const name of ['deep', 'pipe', 'missing']) {
      await expect(openBelow(folder, name)).rejects.toMatchObject({ code: 'file-not-found' })
    }
  })
})

describe('names that firmware asks for', () => {
  const files = createBootFiles({ bootDirectory: folder, operatorDirectory: folder })

  test('only known names lead to files; the data folder is not one of them', async () => {
    for (const name of [
      'keys/root.pem',
      'agent/amd64/config.json',
      'agent/../deep/er/vmlinuz',
      'loaders/x',
      'agent/mips/kernel',
      'boot/../keys/root.pem',
    ]) {
      expect(parseBootName(name), name).toBeUndefined()
    }
  })
  test('the unified kernel image of each architecture has a name of its own beside the loaders', async () => {
    mkdirSync(join(folder, 'agent/arm64'), { recursive: true })
    writeFileSync(join(folder, 'agent/arm64/agent.efi'), 'unified')
    expect(parseBootName('agent-arm64.efi')).toEqual({ kind: 'agent', arch: 'arm64', file: 'unified' })
    const opened = await files.agent('arm64', 'unified')
    expect(Buffer.from(await opened.read(0, 100)).toString()).toBe('unified')
    await opened.close()
    await expect(files.agent('amd64', 'unified')).rejects.toMatchObject({ code: 'file-not-found' })
    await expect(files.loader('agent-mips.efi')).rejects.toMatchObject({ code: 'file-not-found' })
  })
  test('files/ leads to the operator’s folder, and without one nowhere', async () => {
    expect(parseBootName('files/deep/er/vmlinuz')).toEqual({ kind: 'operator', file: 'deep/er/vmlinuz' })
    const opened = await files.operator('deep/er/vmlinuz')
    expect(Buffer.from(await opened.read(0, 100)).toString()).toBe('kernel')
    expect(Buffer.from(await opened.read(3, 100)).toString()).toBe('nel')
    await opened.close()
    await expect(createBootFiles({ bootDirectory: folder }).operator('x')).rejects.toMatchObject({
      code: 'file-not-found',
    })
  })
})

describe('a files folder that holds the data folder', () => {
  const around = mkdtempSync(join(tmpdir(), 'muster-around-'))
  const data = join(around, 'data')
  mkdirSync(join(data, 'keys/main'), { recursive: true })
  mkdirSync(join(data, 'files'))
  writeFileSync(join(data, 'keys/main/root.pem'), 'secret')
  writeFileSync(join(data, 'muster.sqlite'), 'secret')
  writeFileSync(join(data, 'files/vmlinuz'), 'kernel')
  writeFileSync(join(around, 'vmlinuz'), 'kernel')
  symlinkSync('data/keys', join(around, 'kernels'))
  const openFrom = (operatorDirectory: string, name: string) =>
    createBootFiles({ bootDirectory: join(data, 'boot'), operatorDirectory }).operator(name)

  test('serves no key and no database, by whatever name', async () => {
    for (const name of ['data/keys/main/root.pem', 'kernels/main/root.pem', 'data/muster.sqlite'])
      await expect(openFrom(around, name), name).rejects.toMatchObject({ code: 'access-denied' })
    await expect(openFrom(data, 'keys/main/root.pem')).rejects.toMatchObject({ code: 'access-denied' })
  })
  test('serves what else is there, and a folder made for files inside the data folder', async () => {
    await (await openFrom(around, 'vmlinuz')).close()
    await (await openFrom(join(data, 'files'), 'vmlinuz')).close()
  })
})
