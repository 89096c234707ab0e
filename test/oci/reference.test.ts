import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { formatReference, parseReference } from '../../src/oci/reference.ts'

const hex = 'a'.repeat(64)

describe('an image reference', () => {
  test.each([
    ['debian', 'docker.io/library/debian:latest'],
    ['debian:12', 'docker.io/library/debian:12'],
    ['someone/os', 'docker.io/someone/os:latest'],
    ['docker.io/debian', 'docker.io/library/debian:latest'],
    ['localhost/os', 'localhost/os:latest'],
    ['localhost:5000/os:v1.2_3', 'localhost:5000/os:v1.2_3'],
    ['registry.example/a/b__c/d-e.f:1', 'registry.example/a/b__c/d-e.f:1'],
    ['[::1]:5000/os', '[::1]:5000/os:latest'],
    ['HOST/os', 'HOST/os:latest'],
    [`registry.example/os@sha256:${hex}`, `registry.example/os@sha256:${hex}`],
    [`registry.example/os:1@sha256:${hex}`, `registry.example/os:1@sha256:${hex}`],
  ])('%s means %s', (text, explicit) => {
    expect(formatReference(parseReference(text))).toBe(explicit)
    expect(formatReference(parseReference(explicit))).toBe(explicit)
  })

  test.each([
    '',
    'Debian',
    'registry.example/',
    'registry.example/OS',
    'registry.example/os:',
    'registry.example/os:.hidden',
    `registry.example/os:${'t'.repeat(129)}`,
    'registry.example/../etc',
    'registry.example/a//b',
    'registry.example/os@sha512:abc',
    `registry.example/os@sha256:${hex.toUpperCase()}`,
    `registry.example/os@sha256:${hex}@sha256:${hex}`,
    'registry.example:port/os',
    'user:secret@registry.example/os',
    '-bad.example/os',
    'registry.example/os:1\n',
    'http://registry.example/os',
    `registry.example/${'a'.repeat(256)}`,
  ])('%j is refused', (text) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ code: 'reference-invalid' }))
  })

  test('any text is read, or refused with our error, and what is read can be written and read again', () => {
    const alphabet = fc.constantFrom(...'ab0/:@._-A[]'.split(''), 'sha256:', hex, 'localhost')
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(alphabet).map((parts) => parts.join('')),
        ),
        (text) => {
          try {
            const reference = parseReference(text)
            expect(parseReference(formatReference(reference))).toEqual(reference)
          } catch (error) {
            expect(error).toBeInstanceOf(MusterError)
            expect((error as MusterError).code).toBe('reference-invalid')
          }
        },
      ),
    )
  })
})
