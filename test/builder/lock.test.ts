import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { architecture, encodeLock, lockedPackages, parseLock } from '../../src/builder/lock.ts'

const files = ['images/agent/packages.lock', 'test/support/tools.lock'].map((name) =>
  join(import.meta.dirname, '../..', name),
)

describe.each(files)('%s', (file) => {
  test('is written as the program writes it, so that a refresh reads well as a diff', async () => {
    const text = await readFile(file, 'utf8')
    expect(encodeLock(parseLock(text, file))).toBe(text)
  })

  test('has each of its sets for both architectures', async () => {
    const lock = parseLock(await readFile(file, 'utf8'), file)
    for (const set of new Set(lock.packages.flatMap(({ sets }) => sets)))
      for (const arch of architecture.options)
        expect(lockedPackages(lock, [set], arch), `${set} ${arch}`).not.toEqual([])
  })
})

const head = '"apiVersion":"muster/v1","suite":"trixie","date":"2026-09-12T07:55:41Z"'
const entry = (path: string) =>
  `{${head},"packages":[{"name":"curl","version":"1","architectures":["amd64"],"sets":["agent"],"path":"${path}","bytes":1,"sha256":"${'a'.repeat(64)}"}]}`

describe('a lock', () => {
  test.each([
    ['is no JSON', '{'],
    ['lacks a member', '{"apiVersion":"muster/v1"}'],
    ['leads out of the pool', entry('../../etc/shadow.deb')],
    ['leads to another host', entry('//evil.example/pool/x.deb')],
  ])('that %s is refused, with its file name', (_, text) => {
    expect(() => parseLock(text, 'the.lock')).toThrow(
      expect.objectContaining({ code: 'build-failed', message: expect.stringContaining('the.lock') }),
    )
  })

  test('without packages of an architecture says so', () => {
    const lock = parseLock(entry('pool/main/c/curl_1_amd64.deb'), 'the.lock')
    expect(() => lockedPackages(lock, ['agent'], 'arm64')).toThrow(
      expect.objectContaining({ code: 'build-failed', message: expect.stringContaining('--refresh') }),
    )
  })
})
