import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Metadata, MetadataKind } from '@tufjs/models'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/log.ts'
import { initRepository, recoverCeremony } from '../../src/signing/ceremony.ts'
import { periodsOf, toTimestamp } from '../../src/signing/expiry.ts'
import { keyRoles, loadKeys } from '../../src/signing/keys.ts'
import { durableFiles } from '../../src/store/durable-files.ts'

const now = () => Date.parse('2026-03-01T12:00:00.750Z')
const periods = periodsOf('default')
let data: string
let places: { keysDirectory: string; metadataDirectory: string; files: typeof durableFiles }

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-ceremony-'))
  places = {
    keysDirectory: join(data, 'keys/main'),
    metadataDirectory: join(data, 'tuf/main/metadata'),
    files: durableFiles,
  }
})
afterEach(() => rm(data, { recursive: true }))

const readJson = async (name: string) =>
  JSON.parse(await readFile(join(places.metadataDirectory, name), 'utf8'))

describe('the first start of a repository', () => {
  it('makes one private key file per role and four files of metadata', async () => {
    const root = await initRepository({ ...places, periods, now })
    expect((await readdir(places.keysDirectory)).sort()).toEqual(keyRoles.map((role) => `${role}.pem`).sort())
    for (const name of await readdir(places.keysDirectory)) {
      expect((await stat(join(places.keysDirectory, name))).mode & 0o777).toBe(0o600)
    }
    expect((await readdir(places.metadataDirectory)).sort()).toEqual([
      '1.root.json',
      '1.snapshot.json',
      '1.targets.json',
      'timestamp.json',
    ])
    expect(Buffer.from(root)).toEqual(await readFile(join(places.metadataDirectory, '1.root.json')))
  })

  it('gives every role a key of its own, and plans theirs by delegation', async () => {
    await initRepository({ ...places, periods, now })
    const keys = await loadKeys(places.keysDirectory, silentLog)
    const { signed: root } = await readJson('1.root.json')
    const { signed: targets } = await readJson('1.targets.json')
    for (const role of ['root', 'targets', 'snapshot', 'timestamp'] as const) {
      expect(root.roles[role]).toEqual({ keyids: [keys[role]?.keyid], threshold: 1 })
    }
    expect(new Set(Object.values(keys).map((key) => key.keyid)).size).toBe(5)
    expect(targets.delegations.roles).toEqual([
      { name: 'plan', keyids: [keys.plan?.keyid], threshold: 1, paths: ['plan/*'], terminating: true },
    ])
    expect(root.consistent_snapshot).toBe(true)
  })

  it('signs what the TUF models verify, with dates without a fraction', async () => {
    await initRepository({ ...places, periods, now })
    const root = Metadata.fromJSON(MetadataKind.Root, await readJson('1.root.json'))
    root.verifyDelegate('root', root)
    root.verifyDelegate('targets', Metadata.fromJSON(MetadataKind.Targets, await readJson('1.targets.json')))
    root.verifyDelegate(
      'snapshot',
      Metadata.fromJSON(MetadataKind.Snapshot, await readJson('1.snapshot.json')),
    )
    root.verifyDelegate(
      'timestamp',
      Metadata.fromJSON(MetadataKind.Timestamp, await readJson('timestamp.json')),
    )
    expect((await readJson('timestamp.json')).signed.expires).toBe('2026-03-02T12:00:00Z')
    expect((await readJson('1.root.json')).signed.expires).toBe(toTimestamp(now() + 365 * 86_400_000))
  })

  it('never makes a new root over an old one', async () => {
    await initRepository({ ...places, periods, now })
    const before = await readFile(join(places.keysDirectory, 'root.pem'))
    await expect(initRepository({ ...places, periods, now })).rejects.toMatchObject({
      code: 'repository-exists',
    })
    await rm(join(data, 'tuf'), { recursive: true })
    await expect(initRepository({ ...places, periods, now })).rejects.toMatchObject({
      code: 'repository-exists',
    })
    expect(await readFile(join(places.keysDirectory, 'root.pem'))).toEqual(before)
  })
})

describe('a ceremony that was killed', () => {
  it('before both halves were whole leaves nothing, and the next start begins anew', async () => {
    await initRepository({ ...places, periods, now })
    await rename(places.keysDirectory, `${places.keysDirectory}.new`)
    await rename(join(data, 'tuf/main'), join(data, 'tuf/main.new'))
    await rm(join(data, 'keys/main.new/plan.pem'))
    await initRepository({ ...places, periods, now })
    expect(await readdir(places.keysDirectory)).toHaveLength(5)
    expect(await readdir(join(data, 'keys'))).toEqual(['main'])
    expect(await readdir(join(data, 'tuf'))).toEqual(['main'])
  })

  it.each(['keys and metadata', 'metadata'])(
    'while moving %s finishes the move with the same root',
    async (left) => {
      const root = await initRepository({ ...places, periods, now })
      await rename(join(data, 'tuf/main'), join(data, 'tuf/main.new'))
      await writeFile(join(data, 'tuf/main.new/complete'), '')
      if (left === 'keys and metadata') await rename(places.keysDirectory, `${places.keysDirectory}.new`)
      await recoverCeremony(places)
      expect(Buffer.from(root)).toEqual(await readFile(join(places.metadataDirectory, '1.root.json')))
      expect(await readdir(places.keysDirectory)).toHaveLength(5)
      expect(await readdir(join(data, 'tuf'))).toEqual(['main'])
    },
  )
})
