/** The agent as it runs on a machine: one bundle, under the real QuickJS, with the real curl and openssl. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'
import { agentBuildOptions } from '../../src/agent/aliases.ts'
import { defaultLimits } from '../../src/agent/limits.ts'
import { skipReason, tool } from '../support/tools.ts'
import { failureOf, testLimits, World } from './world.ts'

const agent = join(import.meta.dirname, '../../src/agent')
const qjs = tool('qjs')

/** main.ts with a machine of the test's around it. */
const entry = `
import { createOpensslCrypto } from '../crypto/openssl.ts'
import { refresh } from '../tuf/updater.ts'
import { createQuickjsHost } from './host-quickjs.ts'
import { runAgent } from './run.ts'
import { createOpensslHost } from './tuf-shims/blocking.ts'
import { provideCrypto } from './tuf-shims/crypto.ts'
const { folders, limits, maxRounds } = JSON.parse(scriptArgs[1])
const host = createQuickjsHost({ workFolder: folders.work })
await host.makeFolder(folders.work + '/crypto')
const crypto = createOpensslCrypto(createOpensslHost(folders.work + '/crypto'))
provideCrypto(crypto)
await runAgent({ host, crypto, folders, limits, maxRounds, refresh: (options) => refresh({ ...options, crypto }) })
`

async function bundle(contents: string): Promise<Uint8Array> {
  const made = await build({
    ...agentBuildOptions(),
    stdin: { contents, resolveDir: agent, loader: 'ts' },
    write: false,
  })
  return made.outputFiles[0]!.contents
}

async function bootUnderQuickjs(world: World, maxRounds = 1) {
  world.save()
  world.write('agent.js', await bundle(entry))
  const limits = { ...defaultLimits, ...testLimits, roundFirstMs: 100 }
  const settings = JSON.stringify({ folders: world.folders, limits, maxRounds })
  const script = join(world.folder, 'agent.js')
  const child = spawn(qjs!, ['--no-unhandled-rejection', '--module', script, settings], {
    env: { ...process.env, PATH: `${world.folder}/bin:${process.env['PATH']}` },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  const status = await new Promise((resolve) => child.on('close', resolve))
  return { status, output, lines: output.split('\n'), started: world.has('started') }
}

test('main.ts makes a bundle that needs nothing but std and os, the same bytes each time', async () => {
  const entryPoints = [join(agent, 'main.ts')]
  const first = await build({ ...agentBuildOptions(), entryPoints, write: false, metafile: true })
  const second = await build({ ...agentBuildOptions(), entryPoints, write: false })
  const imports = Object.values(first.metafile.outputs).flatMap((output) =>
    output.imports.map(({ path }) => path),
  )
  expect(new Set(imports)).toEqual(new Set(['os', 'std']))
  const text = first.outputFiles[0]!.text
  expect(second.outputFiles[0]!.text).toBe(text)
  expect(text.length).toBeLessThan(320_000)
})

describe.skipIf(qjs === undefined)(`under QuickJS (${qjs ?? skipReason('qjs')})`, () => {
  test('a machine verifies its release and starts it', async () => {
    await using world = new World()
    const initrd = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => index % 251))
    world.release({ layers: { initrds: [initrd] } })
    world.channel(1)
    await world.listen()
    const { output, started } = await bootUnderQuickjs(world)
    expect(output).toContain('muster: kexec: starting hello/1.0.0/amd64')
    expect(started).toBe(true)
    expect(world.read('loaded-initrd').subarray(-initrd.length)).toEqual(initrd)
    expect(world.read('loaded-kernel')).toEqual(Buffer.alloc(300_000, 'kernel '))
    expect(world.badSignatures).toEqual([])
    expect(world.events.filter(({ status }) => status === 'done')).toHaveLength(7)
  })

  test('a download goes on where the server went away', async () => {
    await using world = new World()
    const initrd = Buffer.from(Array.from({ length: 500_000 }, (_, index) => index % 251))
    world.release({ layers: { initrds: [initrd] } })
    await world.listen()
    const wanted = [...world.files].find(([, bytes]) => bytes === initrd)![0]
    world.meddle = ({ path, count }, response) => {
      if (path !== wanted || count > 2) return undefined
      if (count === 1) {
        response.writeHead(200, { 'content-length': initrd.length })
        response.write(initrd.subarray(0, 200_000), () => setTimeout(() => response.destroy(), 50))
      } else response.destroy()
      return 'taken'
    }
    const { started } = await bootUnderQuickjs(world)
    expect(started).toBe(true)
    expect(world.read('loaded-initrd').subarray(-initrd.length)).toEqual(initrd)
  })

  test.each([
    [
      'plan-machine',
      (world: World) => {
        world.changePlan = (plan) => ({ ...plan, machine: 'm-bbbbbbbbbbbbbbbb' })
      },
    ],
    [
      'plan-signature',
      (world: World) => {
        Object.assign(world.signers, { plan: world.signers.root })
      },
    ],
    ['metadata-expired', (world: World) => world.sign({ timestamp: -1 })],
    [
      'server-pin',
      (world: World) => {
        world.config = { ...world.config, pins: [`sha256//${'A'.repeat(43)}=`] }
      },
    ],
    [
      'blob-digest',
      (world: World) => {
        world.meddle = ({ path }) => overwritten(world, path)
      },
    ],
    [
      'blob-too-long',
      (world: World) => {
        world.meddle = ({ path }, response) => endless(world, path, response)
      },
    ],
    ['kexec-failed', (world: World) => world.program('kexec', 'echo no >&2; exit 1')],
  ] as const)('%s is refused, twice, and nothing starts', async (code, prepare) => {
    await using world = new World()
    world.release()
    await world.listen()
    prepare(world)
    const { lines, started, output } = await bootUnderQuickjs(world, 2)
    expect(
      lines.map((line) => failureOf([line])).filter((found) => found !== undefined),
      output,
    ).toEqual([code, code])
    expect(started).toBe(false)
  })
})

const isKernel = (world: World, path: string) =>
  path.includes('/blobs/') && world.files.get(path)?.length === 300_000

function overwritten(world: World, path: string) {
  return isKernel(world, path) ? { body: Buffer.alloc(300_000) } : undefined
}

function endless(world: World, path: string, response: import('node:http').ServerResponse) {
  if (!isKernel(world, path)) return undefined
  const more = () => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536))) {
      // Until the socket is full.
    }
  }
  response.on('drain', more)
  response.writeHead(200)
  more()
  return 'taken' as const
}
