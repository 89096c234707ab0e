import { describe, expect, test } from 'vitest'
import { profileTies } from '../../src/machines/profile-ties.ts'
import { matchProfile, parseProfile } from '../../src/machines/profiles.ts'

const profile = (name: string, selector: object) =>
  parseProfile({ name, selector, image: { name: 'edge', channel: 'stable' } })
const tiesOf = (selector: object, other: object) =>
  profileTies(profile('new', selector), [profile('old', other)])
const uuid = '4c4c4544-0042-3510-8052-b4c04f564432'

describe('two profiles', () => {
  test('for every machine tie, and the other is named', () => {
    expect(tiesOf({}, {})).toEqual([
      expect.stringMatching(/^profile 'old' fits every machine as well as 'new' does \(profile-tie\)/),
    ])
  })
  test('of the same conditions tie where what they ask for overlaps, as machines then find', () => {
    const [first, second] = [
      { arch: 'arm64', labels: { site: ['a', 'b'] } },
      { arch: 'arm64', labels: { site: 'b' } },
    ]
    expect(tiesOf(first, second)).toEqual([
      expect.stringContaining('every machine whose label site is b and arch is arm64'),
    ])
    const machine = {
      labels: { site: 'b' },
      macs: [],
      uuid: undefined,
      serial: undefined,
      arch: 'arm64',
    } as const
    const match = () =>
      matchProfile({ ...machine, macs: [], vendor: undefined, product: undefined } as never, [
        profile('new', first),
        profile('old', second),
      ])
    expect(match).toThrow(expect.objectContaining({ code: 'profile-tie' }))
    expect(tiesOf({ macs: ['52:54:00:00:00:01'] }, { macs: ['52-54-00-00-00-01'] })).toHaveLength(1)
    expect(tiesOf({ uuid }, { uuid: [uuid.toUpperCase()] })).toHaveLength(1)
  })
  test('do not tie where one is more specific, or no value is shared, or other things are asked', () => {
    expect(tiesOf({}, { arch: 'arm64' })).toEqual([])
    expect(tiesOf({ arch: 'amd64' }, { arch: 'arm64' })).toEqual([])
    expect(tiesOf({ labels: { site: 'a' } }, { labels: { room: 'a' } })).toEqual([])
  })
  test('of one name are one profile that is replaced', () => {
    expect(profileTies(profile('all', {}), [profile('all', {})])).toEqual([])
  })
})
