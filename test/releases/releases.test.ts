import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { planPayloadType } from '../../src/protocol/plan.ts'
import { acquireLock } from '../../src/releases/lock.ts'
import { signEnvelope } from '../../src/signing/dsse.ts'
import { createSigner, generatePrivateKey } from '../../src/signing/keys.ts'
import { refresh } from '../../src/tuf/updater.ts'
import { metadataOf, openSite, publish, removeSite, type Site } from './world.ts'

let site: Site
beforeEach(async () => {
  site = await openSite()
})
afterEach(() => removeSite(site))

const reopen = async () => {
  const { data, clock } = site
  await site[Symbol.asyncDispose]()
  site = await openSite({ data, clock })
}

describe('a data folder', () => {
  it('keeps its repository over a restart', async () => {
    const root = await site.releases.trustedRoot()
    await publish(site, '1.0')
    await reopen()
    expect(Buffer.from(await site.releases.trustedRoot())).toEqual(Buffer.from(root))
    expect(site.releases.catalog().image('edge')?.releases).toHaveLength(1)
  })

  it('belongs to one process at a time', async () => {
    await expect(openSite({ data: site.data })).rejects.toMatchObject({ code: 'repository-locked' })
    await expect(openSite({ data: site.data })).rejects.toThrow(`Process ${process.pid}`)
  })

  it('is free again when the process that held it is gone, even if its number is taken', async () => {
    const path = join(site.data, 'some.lock')
    for (const holder of [`${process.pid} 1`, '4194303 17', '', 'nonsense']) {
      await writeFile(path, `${holder}\n`)
      await (await acquireLock(path))[Symbol.asyncDispose]()
    }
    expect((await readdir(site.data)).filter((name) => name.startsWith('some'))).toEqual([])
  })

  it('is free again when the process that held it was killed, and nobody has waited for it yet', async () => {
    // When the child ends, its parent has become a program that waits for nothing.
    const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    onTestFinished(() => void parent.kill('SIGKILL'))
    const [line] = (await once(parent.stdout, 'data')) as [Buffer]
    const pid = line.toString().trim()
    const fields = async () => (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
    await expect.poll(async () => (await fields())[0]).toBe('Z')
    const path = join(site.data, 'some.lock')
    await writeFile(path, `${pid} ${(await fields())[19]}\n`)
    await (await acquireLock(path))[Symbol.asyncDispose]()
  })

  it('never gets a new root where releases were published', async () => {
    await publish(site, '1.0')
    await site[Symbol.asyncDispose]()
    await rm(join(site.data, 'tuf'), { recursive: true })
    await rm(join(site.data, 'keys'), { recursive: true })
    await expect(openSite({ data: site.data })).rejects.toMatchObject({ code: 'repository-not-found' })
    expect(await readdir(site.data)).not.toContain('keys')
  })

  it('never gets a new root over keys that are there', async () => {
    await site[Symbol.asyncDispose]()
    await rm(join(site.data, 'tuf'), { recursive: true })
    await expect(openSite({ data: site.data })).rejects.toMatchObject({ code: 'repository-exists' })
  })

  it('with a part of the metadata missing says which', async () => {
    await site[Symbol.asyncDispose]()
    await rm(join(metadataOf(site.data), '1.snapshot.json'))
    await expect(openSite({ data: site.data })).rejects.toThrow(/1\.snapshot\.json is missing/)
  })

  it('serves metadata files by their names and nothing else', async () => {
    await mkdir(join(site.data, 'tuf/main/metadata/sub'))
    for (const name of [
      '../../../keys/main/root.pem',
      '..',
      '',
      'root.json',
      '0.root.json',
      'sub',
      '1.root.json\0',
      '1.other.json',
    ]) {
      expect(await site.releases.metadata(name)).toBeUndefined()
    }
    expect(await site.releases.metadata('timestamp.json')).toBeDefined()
  })
})

describe('the plan key', () => {
  it('signs what a client believes, because targets delegate to it', async () => {
    const trusted = await refresh({
      repository: 'main',
      trustedRoot: await site.releases.trustedRoot(),
      fetch: (name) => site.releases.metadata(name),
      files: { read: async () => undefined, write: async () => {} },
      now: new Date(),
      crypto: createNodeCrypto(),
    })
    const payload = Buffer.from('{"version":1}')
    const sign = (signer: ReturnType<typeof createSigner>) =>
      signEnvelope({ payloadType: planPayloadType, payload, signers: [signer] })
    expect(Buffer.from(trusted.verifyEnvelope('plan', sign(site.releases.planSigner())))).toEqual(payload)
    expect(() => trusted.verifyEnvelope('plan', sign(createSigner(generatePrivateKey())))).toThrow(
      expect.objectContaining({ code: 'plan-signature' }),
    )
  })

  it('of another repository is refused before anything is signed with it', async () => {
    const path = join(site.data, 'keys/main/plan.pem')
    await writeFile(path, generatePrivateKey().export({ type: 'pkcs8', format: 'pem' }))
    await reopen()
    expect(() => site.releases.planSigner()).toThrow(expect.objectContaining({ code: 'key-invalid' }))
    await rm(path)
    await reopen()
    expect(() => site.releases.planSigner()).toThrow(expect.objectContaining({ code: 'key-not-found' }))
  })
})

describe('the catalog', () => {
  it('says what is missing when a wish cannot be met', async () => {
    await publish(site, '1.0')
    const { resolve } = site.releases.catalog()
    const missing = (wish: object, text: RegExp) => {
      const ask = () => resolve({ image: 'edge', arch: 'amd64', ...wish })
      expect(ask).toThrow(expect.objectContaining({ code: 'target-not-found' }))
      expect(ask).toThrow(text)
    }
    missing({ image: 'other' }, /no image is called other/)
    missing({ channel: 'canary' }, /its channels are: stable/)
    missing({ version: '9.9' }, /not at all/)
    missing({ arch: 'arm64' }, /only for amd64/)
  })

  it('holds releases of every channel to the floor of stable', async () => {
    await publish(site, '1.0', { channel: 'canary' })
    await publish(site, '1.1', { floor: 2 })
    const { resolve } = site.releases.catalog()
    const canary = () => resolve({ image: 'edge', channel: 'canary', arch: 'amd64' })
    expect(canary).toThrow(expect.objectContaining({ code: 'release-below-floor' }))
    await publish(site, '1.2', { channel: 'canary' })
    const { floor, release } = site.releases
      .catalog()
      .resolve({ image: 'edge', channel: 'canary', arch: 'amd64' })
    expect([floor, release.version]).toEqual([2, '1.2'])
  })
})
