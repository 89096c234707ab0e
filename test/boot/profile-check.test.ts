import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { imageProblem } from '../../src/boot/profile-check.ts'
import { parseProfile } from '../../src/machines/profiles.ts'
import { image, openSite, publish, removeSite, type Site } from '../releases/world.ts'

let site: Site
beforeAll(async () => {
  site = await openSite()
  await publish(site, '1.0.0')
  await publish(site, '1.1.0', { channel: 'canary', floor: 2, source: image('1.1.0', { archs: ['arm64'] }) })
  const source = image('other')
  await site.releases.publish({ source, name: {}, image: 'kiosk', version: '3', channel: null })
})
afterAll(() => removeSite(site))

const problemOf = (wish: object, selector: object = {}) =>
  imageProblem(parseProfile({ name: 'p', image: wish, selector }), site.releases.catalog())

describe('the image of a profile', () => {
  test('that is published is no problem, by channel or by version', () => {
    expect(problemOf({ name: 'edge', channel: 'stable' })).toBeUndefined()
    expect(problemOf({ name: 'edge', channel: 'canary' })).toBeUndefined()
    expect(problemOf({ name: 'kiosk', version: '3' })).toBeUndefined()
  })
  test('that is misspelt is told with the name that was meant', () => {
    for (const meant of ['egde', 'edg', 'edge1', 'Edge'.toLowerCase().replace('d', 't')])
      expect(problemOf({ name: meant, channel: 'stable' }), meant).toBe(
        `no image is called '${meant}' (did you mean 'edge'?)`,
      )
    expect(problemOf({ name: 'edge', channel: 'stabel' })).toContain("(did you mean 'stable'?)")
    expect(problemOf({ name: 'edge', version: '1.0.1' })).toContain("(did you mean '1.0.0'?)")
  })
  test('that resembles none is told with those there are', () => {
    expect(problemOf({ name: 'firewall', channel: 'stable' })).toBe(
      "no image is called 'firewall'; there is edge, kiosk",
    )
    expect(problemOf({ name: 'kiosk', channel: 'stable' })).toContain('no channel names it')
  })
  test('that is there for another architecture than the selector asks for', () => {
    expect(problemOf({ name: 'kiosk', version: '3' }, { arch: 'arm64' })).toContain('only for amd64')
    expect(problemOf({ name: 'edge', channel: 'stable' }, { arch: 'amd64' })).toBeUndefined()
  })
  test('that a floor keeps from booting is told as such', async () => {
    await publish(site, '1.2.0', { floor: 3 })
    expect(problemOf({ name: 'edge', version: '1.0.0' })).toMatch(/counter 1, but nothing below 3/)
  })
  test('is unknown while nothing has come from upstream', () => {
    const profile = parseProfile({ name: 'p', image: { name: 'edge', channel: 'stable' } })
    expect(imageProblem(profile, undefined)).toContain('no image is published yet')
  })
  test("is not asked for where the profile gives the operator's own files", () => {
    const profile = parseProfile({ name: 'p', unverified: true, files: { kernel: 'memtest.efi' } })
    expect(imageProblem(profile, undefined)).toBeUndefined()
  })
})
