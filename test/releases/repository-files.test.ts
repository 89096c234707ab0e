import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { openRepositoryFiles, readRepositoryFiles } from '../../src/releases/repository-files.ts'
import { createSigner, generatePrivateKey } from '../../src/signing/keys.ts'
import { signMetadata } from '../../src/signing/repository.ts'
import { metadataOf, openSite, publish, removeSite } from './world.ts'

/** Runs once, behind the first look that a reader takes at its folder. */
const disk = vi.hoisted(() => ({ afterFirstLook: undefined as (() => Promise<void>) | undefined }))
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const looking =
    <Args extends unknown[], Result>(look: (...args: Args) => Promise<Result>) =>
    async (...args: Args) => {
      const seen = await look(...args)
      const then = disk.afterFirstLook
      disk.afterFirstLook = undefined
      await then?.()
      return seen
    }
  return { ...real, readFile: looking(real.readFile as never), readdir: looking(real.readdir as never) }
})
afterEach(() => {
  disk.afterFirstLook = undefined
})

test('a reader beside a rotation of keys sees the state before or the state after, never a mixture', async () => {
  const site = await openSite()
  try {
    await publish(site, '1.0')
    const directory = metadataOf(site.data)
    const parse = async (name: string) => JSON.parse(await readFile(join(directory, name), 'utf8')).signed
    const [root, timestamp] = [await parse('1.root.json'), await parse('timestamp.json')]
    const signer = createSigner(generatePrivateKey())
    root.keys[signer.keyid] = signer.publicKey
    root.roles.timestamp = { keyids: [signer.keyid], threshold: 1 }
    const files = await openRepositoryFiles(directory)
    disk.afterFirstLook = () =>
      files.commit(
        new Map([
          ['2.root.json', signMetadata({ ...root, version: 2 }, [signer])],
          ['timestamp.json', signMetadata({ ...timestamp, version: timestamp.version + 1 }, [signer])],
        ]),
      )
    for (const look of ['during', 'after']) {
      const state = await readRepositoryFiles(directory).current()
      expect(disk.afterFirstLook, look).toBeUndefined()
      expect(state?.root.signed.roles.timestamp.keyids, look).toEqual(state?.timestamp.keyids)
    }
  } finally {
    await removeSite(site)
  }
})

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
