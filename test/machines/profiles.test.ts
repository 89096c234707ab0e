import { describe, expect, test } from 'vitest'
import { matchProfile, parseProfile, rankProfile } from '../../src/machines/profiles.ts'

const machine = {
  labels: { rack: 'a1', role: 'edge' },
  macs: ['52:54:00:00:00:01'],
  serial: 'czc1234',
  arch: 'amd64' as const,
  vendor: 'QEMU',
}
const profile = (name: string, selector: object = {}) =>
  parseProfile({ name, selector, image: { name: 'debian', channel: 'stable' } })
const winner = (...profiles: ReturnType<typeof profile>[]) => matchProfile(machine, profiles)?.profile.name

describe('choosing a profile', () => {
  test('the empty selector takes every machine, and gives way to any other', () => {
    expect(winner(profile('all'))).toBe('all')
    expect(winner(profile('all'), profile('amd', { arch: 'amd64' }))).toBe('amd')
  })

  test('more conditions win over fewer', () => {
    expect(
      winner(
        profile('one', { labels: { rack: 'a1' } }),
        profile('two', { labels: { rack: 'a1', role: 'edge' } }),
      ),
    ).toBe('two')
  })

  test('one identifier weighs more than every label', () => {
    const labels = { labels: { rack: 'a1', role: 'edge' }, arch: 'amd64', vendor: 'QEMU' }
    expect(winner(profile('labels', labels), profile('mac', { macs: ['52-54-00-00-00-01'] }))).toBe('mac')
  })

  test('a list is "one of these" and counts once', () => {
    expect(winner(profile('list', { labels: { rack: ['a1', 'a2'] } }), profile('all'))).toBe('list')
    expect(rankProfile(machine, profile('list', { labels: { rack: ['a1', 'a2'] } })).measure).toBe(1)
  })

  test('all conditions must hold', () => {
    expect(winner(profile('x', { labels: { rack: 'a1' }, arch: 'arm64' }))).toBeUndefined()
    expect(winner(profile('x', { uuid: '4c4c4544-0043-3510-8052-b4c04f4a4d32' }))).toBeUndefined()
  })

  test('a label is not found on the prototype', () => {
    expect(winner(profile('x', { labels: { constructor: 'a' } }))).toBeUndefined()
  })

  test('a tie is an error that names both', () => {
    expect(() =>
      winner(profile('b', { labels: { rack: 'a1' } }), profile('a', { labels: { role: 'edge' } })),
    ).toThrow(
      expect.objectContaining({ code: 'profile-tie', message: expect.stringContaining("'a' and 'b'") }),
    )
  })

  test('it says why in a sentence, and why a loser lost', () => {
    expect(matchProfile(machine, [profile('x', { labels: { rack: 'a1' } })])?.because).toEqual([
      "profile 'x' matches: label rack is a1",
    ])
    const { conditions } = rankProfile(machine, profile('y', { labels: { rack: 'b2' } }))
    expect(conditions).toEqual([{ holds: false, sentence: 'label rack should be b2, but is a1' }])
  })
})

describe('a profile is refused', () => {
  const image = { name: 'debian', channel: 'stable' }
  test.each([
    ['without an image', { name: 'x' }, 'image'],
    [
      'with channel and version',
      { name: 'x', image: { ...image, version: '1' } },
      'either channel or version',
    ],
    ['with a mode that is reserved', { name: 'x', image, mode: 'install' }, 'reserved'],
    ['with an unknown mode', { name: 'x', image, mode: 'disk' }, "only 'ram'"],
    [
      'with a junk UUID',
      { name: 'x', image, selector: { uuid: '03000200-0400-0500-0006-000700080009' } },
      'UUID',
    ],
    ['with files nobody signed', { name: 'x', files: { kernel: 'k' } }, 'unverified: true'],
    [
      'with files that leave their folder',
      { name: 'x', unverified: true, files: { kernel: '../k' } },
      'kernel',
    ],
    [
      'when unverified would join a cluster',
      { name: 'x', unverified: true, files: { kernel: 'k' }, cluster: 'edge' },
      'cluster',
    ],
    ['with a newline in an argument', { name: 'x', image, arguments: ['a\nb'] }, 'control'],
    ['with a space in an argument', { name: 'x', image, arguments: ['a b'] }, 'no space'],
    ['with a quote in an argument', { name: 'x', image, arguments: ['a', 'b="c"'] }, 'arguments.1'],
    ['with what would go to init', { name: 'x', image, arguments: ['--'] }, "'--'"],
    ['with another first program', { name: 'x', image, arguments: ['init=/bin/sh'] }, 'no policy allows it'],
    ['with one in the initramfs', { name: 'x', image, arguments: ['rdinit=/x'] }, "'rdinit=/x'"],
    ['with a member nobody knows', { name: 'x', image, imgae: 1 }, 'imgae'],
  ])('%s', (_, value, part) => {
    expect(() => parseProfile(value)).toThrow(
      expect.objectContaining({ code: 'profile-invalid', message: expect.stringContaining(part) }),
    )
  })
})
