import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

test('one thing that happened is one line at a terminal, whatever it carries', async () => {
  const program = `
    import { createLog } from ${JSON.stringify(join(import.meta.dirname, '../src/log.ts'))}
    createLog({ level: 'info', format: 'text' }).info({ versions: { root: 1, targets: 2 }, list: [1, 2] }, 'published')`
  const { stderr } = await promisify(execFile)(process.execPath, [
    ...['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', program],
  ])
  expect(stderr.trimEnd().split('\n')).toEqual([expect.stringMatching(/INFO.*published.*"targets":2/)])
})
