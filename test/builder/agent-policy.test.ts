import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseAgentPolicy, readAgentPolicy } from '../../src/builder/agent-policy.ts'
import { agentConfig } from '../../src/protocol/agent-config.ts'
import { agentConfigFor } from '../../src/setup/agent-images.ts'

const identity = {
  repository: 'main',
  pins: [`sha256//${Buffer.alloc(32).toString('base64')}`],
  arch: 'amd64',
  timeFloor: '2026-01-31T08:00:00Z',
} as const

describe('the policy file of an agent', () => {
  test('changes what it names and leaves the rest as it is', () => {
    const policy = parseAgentPolicy({ arguments: ['isolcpus=*'], minReleaseCounters: { edge: 7 } }, 'p')
    const built = agentConfigFor({ ...identity, policy })
    expect(built.policy).toEqual({
      ...agentConfigFor(identity).policy,
      arguments: ['isolcpus=*'],
      minReleaseCounters: { edge: 7 },
    })
    expect(agentConfig.safeParse(built).error).toBeUndefined()
  })

  test('tells all its mistakes at once, and names each', () => {
    const wrong = {
      targets: ['edge'],
      arguments: ['init=/bin/sh', 'con*'],
      minReleaseCounters: { edge: -1 },
      onFailure: { attempts: 1.5, fallback: 'reboot', often: true },
      maxImageByte: 1,
    }
    const failed = () => parseAgentPolicy(wrong, 'p.yaml')
    for (const part of [
      'targets.0',
      'arguments.0: an argument that no agent takes',
      'arguments.1: a star stands only at the end',
      'minReleaseCounters.edge',
      'onFailure.attempts',
      'onFailure.fallback',
      "'often'",
      "'maxImageByte'",
    ])
      expect(failed).toThrow(
        expect.objectContaining({ code: 'agent-config-invalid', message: expect.stringContaining(part) }),
      )
  })

  test.each([
    ['nothing', ''],
    ['a list', '- a'],
    ['a member twice', 'staleSeconds: 1\nstaleSeconds: 2'],
    ['no YAML', 'targets: ['],
  ])('that holds %s is refused', async (_, text) => {
    const file = join(mkdtempSync(join(tmpdir(), 'muster-policy-')), 'policy.yaml')
    writeFileSync(file, text)
    await expect(readAgentPolicy(file)).rejects.toMatchObject({ code: 'agent-config-invalid' })
  })

  test('that is not there is refused', async () => {
    await expect(readAgentPolicy('/nowhere/policy.yaml')).rejects.toMatchObject({
      code: 'agent-config-invalid',
    })
  })
})
