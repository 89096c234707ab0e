/** Commands in printed sentences are such as a person can paste. */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { calledAs, commandsOf } from '../../src/setup/commands.ts'

const root = join(import.meta.dirname, '../..')

test('in a checkout with its own data folder they are short', () => {
  const { boot, muster, typed } = commandsOf({ data: join(root, 'data') })
  expect([muster, boot]).toEqual(['./muster', 'npm run boot'])
  expect(typed("rack-7 waits for a person: 'muster approve rack-7' lets it boot")).toBe(
    "rack-7 waits for a person: './muster approve rack-7' lets it boot",
  )
})

test('another data folder is named in each, as one word of a shell', () => {
  const data = "/srv/it's $HOME"
  const { boot, muster } = commandsOf({ data })
  const words = (command: string) =>
    execFileSync('sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' })
      .trimEnd()
      .split('\n')
  expect(words(muster)).toEqual(['./muster', '--data', data])
  expect(words(boot)).toEqual(['npm', 'run', 'boot', '--', '--data', data])
  expect(commandsOf({ data: '/srv/$&' }).typed("'muster status'")).toBe("'./muster --data '/srv/$&' status'")
})

test('where PATH leads to this launcher, also by a link, it is called by its name', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-path-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await symlink(join(root, 'muster'), join(folder, 'muster'))
  expect(calledAs({ path: `/usr/bin:${folder}`, folder: '/' })).toBe('muster')
  const other = await mkdtemp(join(tmpdir(), 'muster-other-'))
  onTestFinished(() => rm(other, { recursive: true }))
  await writeFile(join(other, 'muster'), '')
  expect(calledAs({ path: `${other}:${folder}`, folder: root })).toBe('./muster')
  expect(calledAs({ path: '/usr/bin', folder: root })).toBe('./muster')
  expect(calledAs({ path: '/usr/bin', folder: '/' })).toBe(join(root, 'muster'))
  // Called from anywhere, the default data folder would be another one.
  expect(commandsOf({ called: 'muster', data: join(root, 'data') }).muster).toBe(
    `muster --data ${join(root, 'data')}`,
  )
})
