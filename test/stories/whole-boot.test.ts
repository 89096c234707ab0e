import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { skipReason, tool } from '../support/tools.ts'
import { bootWholly } from '../support/whole-boot.ts'

const missing = tool('qemu-system-x86_64') === undefined

const withoutTimes = (line: string) => line.replaceAll(/ *\d+\.\d s/g, ' N s')

async function readmeTimeline(): Promise<string[]> {
  const readme = await readFile(join(import.meta.dirname, '../../README.md'), 'utf8')
  const [, block = ''] = /```\n( +\d+\.\d s [^`]*)```/.exec(readme) ?? []
  return block.split('\n').filter((line) => line !== '')
}

describe.skipIf(missing)('a virtual PC with a PXE ROM', () => {
  test('goes from its firmware through the agent and TUF into the booted system, and joins', {
    timeout: 200_000,
  }, async () => {
    const lines: string[] = []
    const boot = await bootWholly({ timeoutMs: 180_000, print: (line) => lines.push(line) })
    expect(boot.outcome, `${boot.cause}\n${lines.join('\n')}`).toBe('joined')
    const steps = boot.events
      .filter(({ kind, data }) => kind === 'step' && data['status'] === 'done')
      .map(({ data }) => data['step'])
    expect(steps).toEqual(['network', 'hello', 'plan', 'metadata', 'manifest', 'blobs', 'kexec'])
    // Two kernels on one console: the agent's, and the one that it verified.
    expect(boot.console.match(/Linux version \d/g)).toHaveLength(2)
    expect(boot.codes).toEqual([])
    // What the README shows is what is printed; an unhurried host has nothing stalled. Agents tell several steps at once.
    const said = lines.filter((line) => / s {2}(?!stalled)/.test(line)).map(withoutTimes)
    expect(said.toSorted()).toEqual((await readmeTimeline()).map(withoutTimes).toSorted())
    expect(boot.agent.hardware).toBe('virtual')
    expect(boot.agent.initramfsBytes).toBeLessThanOrEqual(12_000_000)
  })
})

if (missing) console.warn(`the whole boot is skipped: ${skipReason('qemu-system-x86_64')}`)
