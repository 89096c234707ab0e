/** An error that nobody caught: the server says so in its log, and leaves the rest to whoever starts it again. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startServerProcess } from '../support/muster-process.ts'

const surprises = {
  'an error in a timer or a message': "throw new Error('a surprise')",
  'a promise that nobody waited for': "void Promise.reject(new Error('a surprise'))",
}

for (const [kind, code] of Object.entries(surprises))
  test(`${kind} ends the server with one line in its log, and exit code 1`, { timeout: 60_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-surprise-'))
    try {
      const program = `process.once('SIGUSR2', () => { ${code} })`
      const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(program)}` }
      await using server = await startServerProcess(join(folder, 'data'), { env })
      server.child.kill('SIGUSR2')
      const ended = await server.ended
      expect(ended).toMatchObject({ code: 1, signal: null })
      const last = JSON.parse(ended.err.trim().split('\n').at(-1) as string)
      expect(last).toMatchObject({
        level: 50,
        err: { message: 'a surprise', stack: expect.stringContaining('a surprise') },
        msg: 'Muster met an error that nobody foresaw, and stops; please report it',
      })
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
