/** A site that follows another server: it serves what that one signed, byte for byte, also when that one is gone. */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Status } from '../../src/http/admin-status.ts'
import type { PlanReply } from '../../src/protocol/plan.ts'
import { muster } from '../cli/command-line.ts'
import { aMachine, createAgentClient, fetchVerified } from '../support/agent-client.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-follow-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const metadataOf = (data: string) => join(data, 'tuf/main/metadata')

/** A site that trusts this root and has, as upstream decided, a copy of its plan key. */
async function startSite(upstream: { url: string; root: Uint8Array; data: string }): Promise<TestServer> {
  const data = join(folder, 'site')
  const root = join(folder, 'upstream-root.json')
  await writeFile(root, upstream.root)
  await mkdir(join(data, 'keys/main'), { recursive: true })
  await copyFile(join(upstream.data, 'keys/main/plan.pem'), join(data, 'keys/main/plan.pem'))
  return restartSite(upstream.url)
}

const restartSite = (url: string) =>
  startServer({
    data: join(folder, 'site'),
    settings: {
      'releases.upstream.url': `${url}/tuf/main`,
      'releases.upstream.root': join(folder, 'upstream-root.json'),
      'releases.pollSeconds': '1',
    },
  })

const offered = ({ running }: TestServer) => {
  try {
    return running.releases
      .catalog()
      .image('edge')
      ?.releases.map(({ version }) => version)
  } catch {
    return undefined
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 400) throw new Error(`waited for ${what}`)
    await sleep(25)
  }
}

const get = async (url: string) => {
  const answer = await fetch(url)
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) }
}

/** An approved machine of the site's asks for its plan. */
async function askAt(site: TestServer): Promise<{ reply: PlanReply; mirror: string }> {
  const profile = { name: 'edge', selector: {}, image: { name: 'edge', channel: 'stable' } }
  await site.api.call({ method: 'PUT', path: '/profiles/edge', body: profile })
  using client = createAgentClient({ port: site.running.ports.agent })
  const session = await client.boot(aMachine('52:54:00:00:00:01'))
  await site.api.call({ method: 'POST', path: `/machines/${session.reply.machine}/approve` })
  return { reply: await session.plan(), mirror: session.reply.mirrors[0]?.url as string }
}

const planAt = async (site: TestServer) => (await askAt(site)).reply

/** It gets its plan, and everything else, from the site alone, and verifies it against upstream's root. */
const bootAt = async (site: TestServer, trustedRoot: Uint8Array) =>
  fetchVerified({ ...(await askAt(site)), trustedRoot })

test('it verifies, admits, serves unchanged, and boots machines; also when upstream is gone, through a restart', async () => {
  const upstream = await startServer()
  const image = await publishTiny(upstream, 'edge/1.0')
  const root = await upstream.running.releases.trustedRoot()
  let site = await startSite({ url: upstream.firmware, root, data: upstream.data })
  await until('the first release', () => offered(site)?.includes('1.0') === true)
  await publishTiny(upstream, 'edge/1.1')
  await until('the second release', () => offered(site)?.includes('1.1') === true)

  const same = async () => {
    const names = await readdir(metadataOf(upstream.data))
    const current = names.filter((name) => /^1\.root|^timestamp|^3\./.test(name))
    expect(current.sort()).toEqual(['1.root.json', '3.snapshot.json', '3.targets.json', 'timestamp.json'])
    for (const name of current) {
      const { status, body } = await get(`${site.firmware}/tuf/main/metadata/${name}`)
      expect([status, body.equals(await readFile(join(metadataOf(upstream.data), name)))], name).toEqual([
        200,
        true,
      ])
    }
  }
  await same()
  // No key of upstream's is here but the one that chooses.
  expect(await readdir(join(site.data, 'keys/main'))).toEqual(['plan.pem'])
  const held = await bootAt(site, root)
  expect(held.plan.target).toBe('edge/1.1/amd64')

  await upstream.running[Symbol.asyncDispose]()
  await sleep(1500)
  const stoppingMs = performance.now()
  await site[Symbol.asyncDispose]()
  // It is in the middle of trying upstream; nobody waits for that.
  expect(performance.now() - stoppingMs).toBeLessThan(3000)
  site = await restartSite(upstream.firmware)
  await using _ = site
  expect(offered(site)).toEqual(['1.1', '1.0'])
  await same()
  expect((await bootAt(site, root)).plan.target).toBe('edge/1.1/amd64')
  const { digest } = (JSON.parse(image.manifestBytes.toString()) as { layers: { digest: string }[] })
    .layers[0]!
  const blob = await get(`${site.firmware}/tuf/main/blobs/sha256/${digest.slice('sha256:'.length)}`)
  expect([blob.status, blob.body.equals(image.kernel)]).toEqual([200, true])
  await upstream[Symbol.asyncDispose]()
})

test('without a plan key of its own it mirrors all the same, and machines wait and are told why', async () => {
  await using upstream = await startServer()
  await publishTiny(upstream, 'edge/1.0')
  const root = await upstream.running.releases.trustedRoot()
  await using site = await startSite({ url: upstream.firmware, root, data: upstream.data })
  await rm(join(site.data, 'keys/main/plan.pem'))
  await site.running[Symbol.asyncDispose]()
  await using keyless = await restartSite(upstream.firmware)
  await until('the release', () => offered(keyless)?.includes('1.0') === true)
  expect(await planAt(keyless)).toMatchObject({ status: 'wait', reason: expect.stringContaining('plan') })
})

test('it refuses an upstream whose metadata another root signed, and serves nothing of it', async () => {
  await using upstream = await startServer()
  await using stranger = await startServer()
  await publishTiny(upstream, 'edge/6.6.6')
  const root = await stranger.running.releases.trustedRoot()
  await using site = await startSite({ url: upstream.firmware, root, data: upstream.data })
  await expect(site.running.releases.sync()).rejects.toMatchObject({ code: 'metadata-signature' })
  expect(offered(site)).toBeUndefined()
  const status = await site.api.call<Status>({ method: 'GET', path: '/status' })
  expect(status.missing.map(({ reason }) => reason).join()).toContain('your root file')
  // Nobody is asked for a key that has no business here.
  const published = await muster(['image', 'remove', 'edge/1.0', '--data', site.data])
  expect([published.code, published.err]).toEqual([1, expect.stringMatching(/follows http.*at that server/)])
  for (const name of ['timestamp.json', '2.snapshot.json', '2.targets.json'])
    expect((await get(`${site.firmware}/tuf/main/metadata/${name}`)).status, name).toBe(404)
  expect((await get(`${site.firmware}/v2/edge/manifests/6.6.6`)).status).toBe(404)
})

test('an upstream that was taken over and made a new repository changes nothing at the site', async () => {
  const upstream = await startServer({ data: join(folder, 'upstream') })
  const port = String(upstream.running.ports.firmware)
  await publishTiny(upstream, 'edge/1.0')
  const root = await upstream.running.releases.trustedRoot()
  await using site = await startSite({ url: upstream.firmware, root, data: upstream.data })
  await until('the release', () => offered(site)?.includes('1.0') === true)
  const before = await readFile(join(metadataOf(site.data), 'timestamp.json'))
  await upstream[Symbol.asyncDispose]()
  await using other = await startServer({ settings: { 'firmware.port': port } })
  await publishTiny(other, 'edge/6.6.6')
  await publishTiny(other, 'edge/6.6.7')
  await expect(site.running.releases.sync()).rejects.toMatchObject({
    code: expect.stringMatching(/^metadata-/),
  })
  expect(offered(site)).toEqual(['1.0'])
  expect(await readFile(join(metadataOf(site.data), 'timestamp.json'))).toEqual(before)
  expect((await bootAt(site, root)).plan.target).toBe('edge/1.0/amd64')
})

test('a plan key that upstream did not delegate to gives no plans, and machines wait and are told why', async () => {
  await using upstream = await startServer()
  await using stranger = await startServer()
  await publishTiny(upstream, 'edge/1.0')
  const root = await upstream.running.releases.trustedRoot()
  await using site = await startSite({ url: upstream.firmware, root, data: stranger.data })
  await until('the release', () => offered(site)?.includes('1.0') === true)
  expect(await planAt(site)).toMatchObject({ status: 'wait', reason: expect.stringContaining('delegates') })
})
