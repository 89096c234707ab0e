import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { printable, table, toJson } from '../src/cli/output.ts'

/** Each in the form in which it is written here. */
const driving = {
  'an escape': '\u001b[2J',
  'a bell': '\u0007',
  'C1, an escape for some': '\u009b',
  'a right-to-left override': '\u202e',
  'an isolate': '\u2066',
  'a mark of direction': '\u200f',
  'a zero-width blank': '\u200b',
  'a zero-width joiner': '\u200d',
  'a word joiner': '\u2060',
  'a byte order mark': '\ufeff',
  'a soft hyphen': '\u00ad',
  'a line separator': '\u2028',
}
const anyOf = new RegExp(`[${Object.values(driving).join('').replace('[2J', '')}]`)

/** What a log for people writes of `fields` and `message`. */
function logged(message: string, fields: object): string {
  const script = `
    const { createLog } = await import(${JSON.stringify(join(import.meta.dirname, '../src/log.ts'))})
    const { message, fields } = JSON.parse(process.argv[1])
    const log = createLog({ level: 'info', format: 'text' }, false)
    log.info({ ...fields, err: Object.assign(new Error(message), { stack: 'Error: ' + message + '\\n    at a line' }) }, message)`
  const run = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script, JSON.stringify({ message, fields })],
    {
      encoding: 'utf8',
      env: { ...process.env, NO_COLOR: '1' },
    },
  )
  expect(run.status).toBe(0)
  return run.stderr
}

describe('what a stranger wrote drives no terminal', () => {
  test.each(Object.entries(driving))(
    '%s: not in a table, and with --json it is escaped and read back',
    (_, text) => {
      const name = `rack${text}7`
      expect(printable(name)).toBe(`rack?${text.slice(1)}7`)
      expect(table(['NAME'], [[name]], '')).not.toMatch(anyOf)
      expect(toJson({ name })).not.toMatch(anyOf)
      expect(JSON.parse(toJson({ name }))).toEqual({ name })
    },
  )

  test('nor in a log for people: not in its sentence, its fields or a stack, which keeps its lines', () => {
    const text = Object.values(driving).join('')
    const out = logged(`no file '${text}'`, { filename: text, client: { name: text } })
    expect(out).not.toMatch(anyOf)
    for (const shown of ['\\u001b[2J', '\\u202e', '\\u200b'])
      expect(out.split(shown).length).toBeGreaterThan(4)
    expect(out).toMatch(/^\[\d\d:\d\d:\d\d\] INFO: no file '/)
    expect(out).toMatch(/\n +Error: no file.*\n +at a line\n/)
  })

  test('names in any alphabet stay as they are', () => {
    const name = 'стойка-7 架台 رف Ünïcode 🚀'
    expect(printable(name)).toBe(name)
    expect(logged(name, { name }).split(name).length).toBeGreaterThan(2)
  })
})
