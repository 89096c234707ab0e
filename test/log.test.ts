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

test('a command that a sentence names is written as a person here types it', async () => {
  const program = `
    import { createLog } from ${JSON.stringify(join(import.meta.dirname, '../src/log.ts'))}
    const log = createLog({ level: 'info', format: 'json' }, false, (line) => line.replace("'muster ", "'./muster --data /srv "))
    log.warn({ machine: 'm-1' }, "m-1 waits: 'muster approve m-1' lets it boot")
    log.warn({ machine: 'm-2' })`
  const { stderr } = await promisify(execFile)(process.execPath, [
    ...['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', program],
  ])
  const lines = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object)
  expect(lines).toMatchObject([
    { machine: 'm-1', msg: "m-1 waits: './muster --data /srv approve m-1' lets it boot" },
    { machine: 'm-2' },
  ])
})
