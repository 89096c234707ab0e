/** The `muster` launcher, run for real: which Node it finds and what it hands to it. */
import { execFileSync } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const version = /^\d+\.\d+\.\d+\n$/

/** A checkout whose pinned Node says what it is run with. */
async function makeCheckout(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'muster-launcher-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await copyFile(join(root, 'muster'), join(folder, 'muster'))
  for (const architecture of ['x64', 'arm64']) {
    const bin = join(folder, `node_modules/node-linux-${architecture}/bin`)
    await mkdir(bin, { recursive: true })
    await writeFile(join(bin, 'node'), '#!/bin/sh\necho "$NODE_COMPILE_CACHE"\nprintf "%s\\n" "$@"\n')
    await chmod(join(bin, 'node'), 0o755)
  }
  return folder
}

test('the pinned Node beside it runs the bundle, and keeps its compiled code in the checkout', async () => {
  const checkout = await makeCheckout()
  const lines = execFileSync(join(checkout, 'muster'), ['machines', '--json'], {
    env: { PATH: process.env.PATH },
    encoding: 'utf8',
  }).split('\n')
  expect(lines[0]).toBe(join(checkout, '.cache/compile'))
  expect(lines).toContain(join(checkout, 'dist/main.js'))
  expect(lines.slice(-3)).toEqual(['machines', '--json', ''])
})

test('a place for compiled code that a person chose is kept, and one that cannot be written stops nothing', () => {
  const run = (cache: string) =>
    execFileSync(join(root, 'muster'), ['--version'], {
      env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: cache },
      encoding: 'utf8',
    })
  expect(run('')).toMatch(version)
  expect(run('/dev/null/nowhere')).toMatch(version)
})
