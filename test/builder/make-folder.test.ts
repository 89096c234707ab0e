import { mkdtempSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeFolder } from '../../src/builder/make-folder.ts'

const folder = mkdtempSync(join(tmpdir(), 'muster-folder-'))

test('a folder is made with those above it, and again is no error', async () => {
  const deep = join(folder, 'a/b/c')
  for (let round = 0; round < 2; round++) await makeFolder(deep)
  expect(statSync(deep).isDirectory()).toBe(true)
  symlinkSync(deep, join(folder, 'link'))
  await makeFolder(join(folder, 'link'))
  await Promise.all([makeFolder(join(folder, 'x/y')), makeFolder(join(folder, 'x/z'))])
})

test('where none can be made the system says why, also in /proc, where Node goes round for ever', async () => {
  await expect(makeFolder('/proc/muster')).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(makeFolder('/proc/muster/deep/er')).rejects.toMatchObject({ code: 'ENOENT' })
  writeFileSync(join(folder, 'file'), '')
  await expect(makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' })
  await expect(makeFolder(join(folder, 'file/below'))).rejects.toMatchObject({ code: 'ENOTDIR' })
})
