/** What a start gives once, and what it makes when more is wanted than was there. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { silentLog } from '../../src/log.ts'
import type { Arch } from '../../src/protocol/identifiers.ts'
import { type FirstStart, firstStartParts, helloVersion } from '../../src/setup/first-start.ts'
import { createOnce } from '../../src/setup/once.ts'
import { pathsOf } from '../../src/setup/paths.ts'
import { openDatabase } from '../../src/store/database.ts'

type World = { releases: { version: string; arch: Arch }[]; profiles: string[]; made: Arch[][] }

/** One start of a server whose repository and profiles are in `world`; only its hello image is prepared. */
async function startWith(world: World, once: FirstStart['once'], architectures = 'amd64'): Promise<void> {
  const data = join(tmpdir(), 'muster-nothing-is-written-here')
  const { config } = loadConfig({
    env: {},
    flags: { data, mirror: 'http://127.0.0.1:1', 'image.architectures': architectures },
  })
  const parts = firstStartParts({
    ...{ config, once, paths: pathsOf(config), pin: 'sha256//x', signal: new AbortController().signal },
    trustedRoot: async () => new Uint8Array(),
    progress: () => {},
    print: () => {},
    releasesOf: () => world.releases,
    async publishHello({ architectures: wanted }) {
      world.made.push([...wanted])
      for (const arch of wanted) world.releases.push({ version: helloVersion, arch })
    },
    hasProfiles: async () => world.profiles.length > 0,
    async putProfile({ name }) {
      world.profiles.push(name)
    },
  })
  await parts.find(({ what }) => what === 'the hello image')?.make()
}

async function aServer() {
  const now = () => new Date()
  const database = await openDatabase({ path: ':memory:', log: silentLog, now })
  const world: World = { releases: [], profiles: [], made: [] }
  return {
    world,
    once: createOnce({ database, now }),
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  }
}

test('the demonstration profile is given once: a person who removed it does not find it again', async () => {
  await using server = await aServer()
  const { once, world } = server
  await startWith(world, once)
  expect(world.profiles).toEqual(['demonstration'])
  world.profiles.length = 0
  await startWith(world, once)
  expect(world.profiles).toEqual([])
})

test('it is not given either after profiles of a person are gone', async () => {
  await using server = await aServer()
  const { once, world } = server
  world.profiles.push('of-a-person')
  await startWith(world, once)
  world.profiles.length = 0
  await startWith(world, once)
  expect(world.profiles).toEqual([])
})

test('an architecture that is added later gets its hello image, and only that one is made', async () => {
  await using server = await aServer()
  const { once, world } = server
  await startWith(world, once, 'amd64')
  await startWith(world, once, 'amd64,arm64')
  await startWith(world, once, 'amd64,arm64')
  expect(world.made).toEqual([['amd64'], ['arm64']])
})

test("an image that a person published as 'hello' is left alone", async () => {
  await using server = await aServer()
  const { once, world } = server
  world.releases.push({ version: '7.0.0', arch: 'amd64' })
  await startWith(world, once, 'amd64,arm64')
  expect(world.made).toEqual([])
})
