/** The developer programs, typed wrong: one sentence that names what was meant, exit code 2, nothing started. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { oneOf, parseOptions, runProgram, WrongUsage, wholeNumber } from '../../scripts/usage.ts'

const root = join(import.meta.dirname, '../..')

async function typed(script: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(
      join(root, 'scripts/node'),
      [join(root, `scripts/${script}.ts`), ...args],
      { timeout: 60_000 },
    )
    return { code: 0, out: stdout, err: stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, out: stdout, err: stderr }
  }
}

describe.concurrent('wrong usage of a developer program is one sentence and exit code 2', () => {
  test.each([
    ['boot', ['--fualt', 'flipped-bit'], "there is no option --fualt; did you mean 'fault'?"],
    ['boot', ['--fault', 'fliped-bit'], "there is no fault 'fliped-bit'; did you mean 'flipped-bit'?"],
    ['boot', ['--hardware', 'real'], "there is no hardware 'real'; known are virtual, server"],
    ['boot', ['--memory', 'much'], "--memory takes a whole number above 0, not 'much'"],
    ['boot', ['flipped-bit'], "'flipped-bit' is no option; known are --fault, --hardware"],
    ['boot', ['--fault'], "Option '--fault <value>' argument missing"],
    ['boot', ['--data', '/nowhere/data'], '--data names /nowhere/data, and there is no such folder'],
    ['lab', ['dhcp-servr'], "there is no scenario 'dhcp-servr'; did you mean 'dhcp-server'?"],
    ['lab', ['dhcp-server', '--verbose'], 'there is no option --verbose; known are --inside'],
    ['bench', ['tfpt'], "there is no benchmark 'tfpt'; did you mean 'tftp'?"],
    ['bench', ['tftp', '--round', '1'], "there is no option --round; did you mean 'rounds'?"],
    ['bench', ['tftp', '--case', 'none'], "there is no case 'none'"],
    ['bench', ['start', '--rounds', '1'], 'there is no option --rounds; it takes none'],
    ['fuzz', ['dchp'], "there is no protocol 'dchp'; did you mean 'dhcp'?"],
    ['fuzz', ['tftp', '--packet', '5'], "there is no option --packet; did you mean 'packets'?"],
    ['fuzz', ['tftp', '--packets', 'many'], "--packets takes a whole number above 0, not 'many'"],
  ])('%s %j', { timeout: 60_000 }, async (script, args, sentence) => {
    const { code, err, out } = await typed(script, ...args)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).toContain(sentence)
    expect(err.trim().split('\n')).toHaveLength(1)
  })

  test.each(['lab', 'bench', 'fuzz'])(
    '%s without a name says what there is, which is no mistake',
    async (script) => {
      expect(await typed(script)).toMatchObject({
        code: 0,
        err: '',
        out: expect.stringContaining('usage: npm run'),
      })
    },
  )
})

test('what is typed right is taken, and what fails for another reason is not wrong usage', async () => {
  const known = {
    rounds: { type: 'string', default: '5' },
    both: { type: 'boolean', default: false },
  } as const
  expect(parseOptions(['--both', '--rounds=3'], known)).toEqual({ both: true, rounds: '3' })
  expect(() => parseOptions(['--both=yes'], known)).toThrow(WrongUsage)
  expect(wholeNumber('rounds', '3')).toBe(3)
  expect(oneOf('way', 'b', ['a', 'b'])).toBe('b')
  await expect(runProgram(() => Promise.reject(new RangeError('a fault')))).rejects.toThrow('a fault')
})
