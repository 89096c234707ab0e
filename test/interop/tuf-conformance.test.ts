/**
 * theupdateframework/tuf-conformance judges both clients: the server's on Node, and the agent's on QuickJS.
 *
 * Runs when TUF_CONFORMANCE names a checkout of the suite; TUF_CONFORMANCE_PYTHON is a Python that has what its
 * pyproject.toml asks for (default python3), MUSTER_QJS a qjs where none is on PATH.
 */
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { agentBuildOptions } from '../../src/agent/aliases.ts'
import { skipReason, tool } from '../support/tools.ts'

const suite = process.env['TUF_CONFORMANCE']
const python = process.env['TUF_CONFORMANCE_PYTHON'] ?? 'python3'
const qjs = process.env['MUSTER_QJS'] ?? tool('qjs')
const leastTests = 113
const timeoutMs = 15 * 60_000

const scripts = join(import.meta.dirname, '../../scripts')
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-conformance-'))
  await mkdir(join(folder, 'bin'))
})
afterAll(() => rm(folder, { recursive: true }))

async function writeProgram(name: string, lines: string[]): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'))
  await chmod(path, 0o755)
  return path
}

// The suite moves time by running its client under `faketime`. Time is a parameter of ours, so it is passed on instead;
// a preloaded library could not reach a qjs that brings its own libc.
const time = `--now "\${MUSTER_FAKE_NOW:-$(date +%s)}"`

async function judge(client: string): Promise<string> {
  await writeProgram('bin/faketime', [
    'MUSTER_FAKE_NOW=$(date -u -d "$1" +%s) || exit 2',
    'export MUSTER_FAKE_NOW; shift; exec "$@"',
  ])
  const env = { ...process.env, PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH']}` }
  const argv = ['-m', 'pytest', '-p', 'no:cacheprovider', '-q', 'tuf_conformance', '--entrypoint', client]
  const options = { cwd: suite!, env, timeout: timeoutMs, maxBuffer: 16_000_000 }
  // pytest ends with 1 when a test failed; what it printed says which.
  const { stdout } = await promisify(execFile)(python, argv, options).catch(
    (error: { stdout: string }) => error,
  )
  return stdout
}

function expectAllPassed(report: string): void {
  const summary = report.trim().split('\n').at(-1) ?? ''
  expect(report).toMatch(/^\d+ passed in /m)
  expect(Number.parseInt(summary, 10)).toBeGreaterThanOrEqual(leastTests)
}

describe.skipIf(suite === undefined)(
  'tuf-conformance, all of it and without expected failures, is passed',
  () => {
    test('by the server’s client', { timeout: timeoutMs }, async () => {
      const client = join(scripts, 'tuf-conformance-client.ts')
      expectAllPassed(
        await judge(await writeProgram('server', [`exec '${process.execPath}' '${client}' ${time} "$@"`])),
      )
    })

    test.skipIf(qjs === undefined)(
      `by the agent’s client on QuickJS${qjs ? '' : ` (${skipReason('qjs')})`}`,
      {
        timeout: timeoutMs,
      },
      async () => {
        const outfile = join(folder, 'agent.js')
        await build({
          ...agentBuildOptions(),
          entryPoints: [join(scripts, 'tuf-conformance-agent.js')],
          outfile,
        })
        const scratch = join(folder, 'scratch')
        await mkdir(scratch, { mode: 0o700 })
        const run = `exec '${qjs}' --no-unhandled-rejection --module '${outfile}' '${scratch}' ${time} "$@"`
        expectAllPassed(await judge(await writeProgram('agent', [run])))
      },
    )
  },
)
