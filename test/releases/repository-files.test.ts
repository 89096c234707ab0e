import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openRepositoryFiles } from '../../src/releases/repository-files.ts'

test('a disk that refuses a metadata file is named, with what to do, and leaves nothing half written', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'muster-repository-'))
  try {
    const files = await openRepositoryFiles(directory)
    // A folder in its place: what a full disk does to a write, as root too.
    await mkdir(join(directory, 'timestamp.json'))
    const commit = files.commit(
      new Map([
        ['timestamp.json', Buffer.from('{}')],
        ['2.snapshot.json', Buffer.from('{}')],
      ]),
    )
    await expect(commit).rejects.toMatchObject({
      code: 'store-failed',
      message: expect.stringMatching(/^timestamp\.json could not be written.*See to the disk/),
    })
    expect((await readdir(directory)).sort()).toEqual(['2.snapshot.json', 'timestamp.json'])
  } finally {
    await rm(directory, { recursive: true })
  }
})
