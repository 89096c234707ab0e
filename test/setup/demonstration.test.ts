import { expect, test } from 'vitest'
import { parseProfile } from '../../src/machines/profiles.ts'
import { isDemonstration } from '../../src/setup/demonstration.ts'
import { demonstrationProfile } from '../../src/setup/first-start.ts'

test('the profile of the first start needs no person', () => {
  expect(isDemonstration(parseProfile(demonstrationProfile))).toBe(true)
})

test.each([
  ['another image', { image: { name: 'debian', channel: 'stable' } }],
  ['kernel arguments', { arguments: ['console=ttyS1'] }],
  ['a cluster', { cluster: 'factory' }],
  ['unverified files', { image: undefined, unverified: true, files: { kernel: 'k' } }],
])('%s needs one', (_, more) => {
  expect(isDemonstration(parseProfile({ ...demonstrationProfile, ...more }))).toBe(false)
})
