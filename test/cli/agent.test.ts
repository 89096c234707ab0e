import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { agentConfigFor } from '../../src/setup/agent-images.ts'
import { muster } from './command-line.ts'

const build = (...more: string[]) => {
  const argv = ['agent', 'build', '--arch', 'amd64', '--hardware', 'virtual', '--root', 'r', '--out', 'o']
  return muster([...argv, ...more], { world: { agentConfig: agentConfigFor } })
}

describe('muster agent build', () => {
  test('without the pin is wrong usage: such an agent would know no server', async () => {
    const ran = await build()
    expect(ran.code).toBe(2)
    expect(ran.err).toContain('--pin')
  })
  test('builds the policy in that --policy or the setting names, and refuses one with mistakes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'muster-policy-'))
    const [flag, setting, wrong] = ['flag', 'setting', 'wrong'].map((name) => join(folder, name))
    writeFileSync(flag!, 'staleSeconds: 60')
    writeFileSync(setting!, '{"staleSeconds": 30}')
    writeFileSync(wrong!, 'staleSecond: 60')
    const given: unknown[] = []
    const agentConfig = ({ policy }: { policy: unknown }) => {
      given.push(policy)
      throw new MusterError('internal', 'far enough')
    }
    const argv = ['agent', 'build', '--arch', 'amd64', '--hardware', 'virtual', '--root', 'r', '--out', 'o']
    const run = (...more: string[]) =>
      muster([...argv, '--pin', 'x', '--mirror', 'http://127.0.0.1:9', ...more], {
        world: { agentConfig, progressLines: () => () => {} },
      })
    await run('--policy', flag!)
    await run('--set', `agentPolicy=${setting}`)
    expect(given).toEqual([{ staleSeconds: 60 }, { staleSeconds: 30 }])
    const refused = await run('--policy', wrong!)
    expect([refused.code, refused.err]).toEqual([78, expect.stringContaining('"staleSecond"')])
  })

  test('names what is not an architecture, a hardware or an origin', async () => {
    for (const wrong of [
      ['--arch', 'mips'],
      ['--hardware', 'toaster'],
      ['--origin', 'nonsense'],
    ]) {
      const ran = await build('--pin', 'x', ...wrong)
      expect([ran.code, ran.err], wrong.join(' ')).toEqual([
        2,
        expect.stringContaining(`'${wrong[1]}' is invalid. It is one of`),
      ])
    }
  })
})

test('muster serve does not start with an agent policy that has mistakes', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'muster-policy-')), 'policy.yaml')
  writeFileSync(file, 'target: []')
  let started = false
  const ran = await muster(['serve', '--set', `agentPolicy=${file}`], {
    world: {
      async serve() {
        started = true
      },
    },
  })
  expect([ran.code, ran.err, started]).toEqual([78, expect.stringContaining('"target"'), false])
})
