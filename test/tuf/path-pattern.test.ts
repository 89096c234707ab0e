import fc from 'fast-check'
import { expect, test } from 'vitest'
import { matchesPathPattern } from '../../src/tuf/path-pattern.ts'

test.each([
  ['edge-os/1.2.3/arm64', 'edge-os/*/*'],
  ['edge-os/1.2.3/arm64', '*/*/*'],
  ['edge-os/1.2.3/arm64', 'edge-os/1.?.?/arm??'],
  ['.hidden', '*'],
  ['', ''],
  ['a*b', 'a*b'],
  ['aXbXc', 'a*b*c'],
  ['aab', '*ab'],
  ['{a,b}', '{a,b}'],
  ['!b', '!b'],
])('%j is matched by %j', (path, pattern) => {
  expect(matchesPathPattern(path, pattern)).toBe(true)
})

test.each([
  ['edge-os/1.2.3/arm64', 'edge-os/*'],
  ['edge-os/1.2.3/arm64', '*'],
  ['edge-os/1.2.3/arm64', '**'],
  ['edge-os/1.2.3/arm64', '**/arm64'],
  ['edge-os', 'edge-os/*'],
  ['a/b', 'a?b'],
  ['a', '{a,b}'],
  ['a', '!b'],
  ['foo', '+(f|o)oo'],
  ['a', '[ab]'],
  ['A', 'a'],
  ['ab', '?'],
  ['', '?'],
])('%j is not matched by %j', (path, pattern) => {
  expect(matchesPathPattern(path, pattern)).toBe(false)
})

test('a pattern means the same as the regular expression that it describes', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.'), maxLength: 12 })
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', '*', '?'), maxLength: 8 })
  fc.assert(
    fc.property(text, pattern, (path, wanted) => {
      const source = wanted.replaceAll('.', '\\.').replaceAll('*', '[^/]*').replaceAll('?', '[^/]')
      expect(matchesPathPattern(path, wanted)).toBe(new RegExp(`^${source}$`).test(path))
    }),
    { numRuns: 2000 },
  )
})

test('a pattern of a thousand stars against a thousand letters is answered at once', () => {
  const started = performance.now()
  expect(matchesPathPattern('a'.repeat(1000), `${'*a'.repeat(500)}b`)).toBe(false)
  expect(performance.now() - started).toBeLessThan(500)
})
