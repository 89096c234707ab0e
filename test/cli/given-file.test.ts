/** Files that a person names: whatever keeps one from being read is one sentence with the file, the option and the way out. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readGiven, unreadable } from '../../src/cli/given-file.ts'
import { systemReason } from '../../src/system-error.ts'
import { createWorld, type World } from '../http/admin-world.ts'
import { thrownCode } from '../support/thrown-code.ts'
import { muster } from './command-line.ts'

let world: World
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-given-'))
  world = await createWorld()
})
afterEach(async () => {
  await world[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

describe('a folder where a file is wanted', () => {
  test.each([
    ['lint', 'raspberry-pi', '--key'],
    ['profile', 'set', 'edge', '-f'],
    ['cluster', 'set', 'edge', '-f'],
    ['dhcp', 'explain'],
    ['config', '--config'],
    ['image', 'sign', '--sign', 'x', '--cert', 'x', '--out', 'x'],
    ['image', 'publish', '.', '--as', 'a/1', '--key'],
  ])('is said to be one by %s %s %s, without the words of the system', async (...argv) => {
    const ran = await muster([...argv, folder, '--data', world.data])
    expect([1, 78]).toContain(ran.code)
    expect(ran.err).toContain(folder)
    expect(ran.err).toContain('it is a folder')
    expect(ran.err).not.toMatch(/EISDIR|illegal operation|nobody foresaw/)
  })
})

test('a file that may not be read says as whom to try', () => {
  const denied = Object.assign(new Error('EACCES: permission denied, open'), { code: 'EACCES' })
  const { code, message } = unreadable(
    '/k.pem',
    { by: '--key', what: 'The key', code: 'key-invalid' },
    denied,
  )
  expect([code, message]).toEqual([
    'key-invalid',
    'The key /k.pem cannot be read (--key): permission denied to this user. Run this as a user who may read it, or name a copy.',
  ])
})

test('a file that is not there is an error of the code that its command has for it', () => {
  const missing = join(folder, 'none')
  expect(thrownCode(() => readGiven(missing, { by: '--key', code: 'key-invalid' }))).toBe('key-invalid')
})

test('what is no error of the system keeps its own words, without a second full stop', () => {
  expect(systemReason(new Error('Something else.'))).toBe('Something else')
  expect(systemReason(undefined)).toBe('undefined')
})
