/** The same verification in the agent's bundle, its Node modules swapped: on Node, and on QuickJS where there is one. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { afterAll, describe, expect, test } from 'vitest'
import { agentBuildOptions } from '../../src/agent/aliases.ts'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { tool } from '../support/tools.ts'
import { now, World } from './world.ts'

const resolveDir = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'muster-bundle-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function bundle(name: string, contents: string) {
  const outfile = join(folder, name)
  const stdin = { contents, loader: 'ts', resolveDir } as const
  const { metafile } = await build({ ...agentBuildOptions(), stdin, outfile, metafile: true })
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports.map(({ path }) => path))
  return { outfile, imports }
}

const verification = `
  export { refresh } from './src/tuf/updater.ts'
  export { provideCrypto } from './src/agent/tuf-shims/crypto.ts'
`

describe('the verification, bundled for the agent', () => {
  test('imports nothing at all, and names no Node global', async () => {
    const { outfile, imports } = await bundle('pure.mjs', verification)
    expect(imports).toEqual([])
    expect(readFileSync(outfile, 'utf8')).not.toMatch(/\b(?:process|require)\s*[.(]|node:/)
  })

  test('is the same bytes from the same sources', async () => {
    const [first, second] = [
      await bundle('first.mjs', verification),
      await bundle('second.mjs', verification),
    ]
    expect(readFileSync(first.outfile)).toEqual(readFileSync(second.outfile))
  })

  test('fails to build when something in it wants a Node module', async () => {
    await expect(bundle('node.mjs', "import 'node:fs'")).rejects.toThrow('Could not resolve "node:fs"')
    await expect(bundle('node.mjs', "import 'fs'")).rejects.toThrow('Could not resolve "fs"')
  })

  test('accepts and refuses what the server does', async () => {
    const { outfile } = await bundle('both.mjs', verification)
    const agent = await import(/* @vite-ignore */ pathToFileURL(outfile).href)
    agent.provideCrypto(createNodeCrypto())
    const world = new World()
    world.addTarget('edge-os/1/arm64', 'manifest')
    world.publish()
    const options = {
      repository: 'factory',
      trustedRoot: world.trustedRoot,
      now,
      crypto: createNodeCrypto(),
      fetch: async (name: string) => world.served.get(name),
      files: { read: async () => undefined, write: async () => {} },
    }
    const repository = await agent.refresh(options)
    expect((await repository.requireTarget('edge-os/1/arm64')).length).toBe(8)
    world.tamper('timestamp.json', ({ signed }) => signed.version++)
    await expect(agent.refresh(options)).rejects.toMatchObject({ code: 'metadata-signature' })
  })
})

const qjs = process.env['MUSTER_QJS'] ?? tool('qjs')

describe.skipIf(qjs === undefined || tool('openssl') === undefined)('on QuickJS with openssl', () => {
  test('a repository verifies, a changed byte does not, and a session key signs', async () => {
    const { outfile, imports } = await bundle(
      'quickjs.js',
      `
      import { createOpensslHost, readFile } from './src/agent/tuf-shims/blocking.ts'
      import { provideCrypto } from './src/agent/tuf-shims/crypto.ts'
      import { createOpensslCrypto } from './src/crypto/openssl.ts'
      import { refresh } from './src/tuf/updater.ts'
      const [, folder, now] = globalThis.scriptArgs
      const crypto = createOpensslCrypto(createOpensslHost(folder + '/scratch'))
      provideCrypto(crypto)
      const attempt = (served) => refresh({
        repository: 'factory',
        trustedRoot: readFile(folder + '/good/1.root.json', 1e6),
        now: new Date(now),
        crypto,
        fetch: async (name) => readFile(folder + '/' + served + '/' + name, 1e6),
        files: { read: async () => undefined, write: async () => {} },
      })
      const target = await (await attempt('good')).requireTarget('edge-os/1/arm64')
      const refusal = await attempt('bad').catch((error) => error.code)
      const key = crypto.createSigningKey()
      const message = new TextEncoder().encode('é')
      const signed = crypto.verify(key.publicKey, message, key.sign(message))
      console.log(JSON.stringify({ sha256: target.sha256, refusal, signed, random: crypto.randomBytes(8).length }))
      `,
    )
    expect([...new Set(imports)]).toEqual(['os'])
    const world = new World()
    world.addTarget('edge-os/1/arm64', 'manifest')
    world.publish()
    const place = (served: string) => {
      mkdirSync(join(folder, served))
      for (const [name, bytes] of world.served) writeFileSync(join(folder, served, name), bytes)
    }
    mkdirSync(join(folder, 'scratch'), { mode: 0o700 })
    place('good')
    world.tamper('2.targets.json', ({ signed }) => signed.targets['edge-os/1/arm64'].length++)
    place('bad')
    const argv = ['--no-unhandled-rejection', '--module', outfile, folder, now.toISOString()]
    expect(JSON.parse(execFileSync(qjs!, argv, { encoding: 'utf8' }))).toEqual({
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      refusal: 'metadata-mismatch',
      signed: true,
      random: 8,
    })
  })
})
