import { expect, test } from 'vitest'
import { agentArgumentsOf } from '../../src/config/agent-arguments.ts'
import { loadConfig } from '../../src/config/load.ts'

test('no console= keeps an arm64 kernel from the port that its firmware names; a PC is told both of its usual ones', () => {
  const { config } = loadConfig({ env: {} })
  expect(agentArgumentsOf(config, 'arm64')).toEqual([])
  expect(agentArgumentsOf(config, 'amd64')).toEqual(['console=tty0', 'console=ttyS0,115200'])
})

test('what the operator gives is given to every architecture', () => {
  const { config } = loadConfig({ env: {}, flags: { 'image.arguments': 'console=ttyS2,1500000,quiet=1' } })
  for (const arch of ['amd64', 'arm64'] as const)
    expect(agentArgumentsOf(config, arch)).toEqual(config.image.arguments)
  expect(config.image.arguments).toContain('quiet=1')
})
