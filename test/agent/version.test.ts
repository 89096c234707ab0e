import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { agentVersion } from '../../src/agent/version.ts'

test('the agent is of the version of its package', () => {
  const path = join(import.meta.dirname, '../../package.json')
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string }
  expect(agentVersion).toBe(version)
})
