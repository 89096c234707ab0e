import { describe, expect, test } from 'vitest'
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
