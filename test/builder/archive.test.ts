import { describe, expect, test } from 'vitest'
import { parsePackages, parseRelease, resolveDependencies } from '../../src/builder/archive.ts'

const hash = 'a'.repeat(64)
const paragraph = (name: string, more = '') => `Package: ${name}
Version: 1.0-1
Filename: pool/main/x/${name}_1.0-1_amd64.deb
Size: 10
SHA256: ${hash}
Description: what it is
 and more of it: with a colon
${more}`

const index = parsePackages(
  [
    paragraph(
      'curl',
      'Pre-Depends: libc6 (>= 2.34)\nDepends: libcurl4t64 (= 1.0-1), missing | zlib1g:any, mail-transport-agent',
    ),
    paragraph('libcurl4t64', 'Depends: libc6 (>= 2.38) [amd64], debconf (>= 0.5) | debconf-2.0'),
    paragraph('libc6'),
    paragraph('zlib1g', 'Depends: curl'),
    paragraph('exim4', 'Provides: mail-transport-agent (= 4), something'),
  ].join('\n\n'),
)

describe('the dependencies of a package', () => {
  test('are followed to their end: alternatives, virtual packages, circles', () => {
    const names = resolveDependencies(index, ['curl'], ['debconf']).map(({ name }) => name)
    expect(names).toEqual(['curl', 'exim4', 'libc6', 'libcurl4t64', 'zlib1g'])
  })

  test('are not followed where the recipe says so', () => {
    const without = ['libcurl4t64', 'mail-transport-agent', 'zlib1g']
    expect(resolveDependencies(index, ['curl'], without).map(({ name }) => name)).toEqual(['curl', 'libc6'])
  })

  test('that the archive does not have are named', () => {
    expect(() => resolveDependencies(index, ['curl'], [])).toThrow(
      expect.objectContaining({
        code: 'build-failed',
        message: expect.stringContaining('debconf or debconf-2.0'),
      }),
    )
  })
})

test('a Release file gives its date and the sha256 of each index, not its older hashes', () => {
  const release = parseRelease(`Origin: Debian
Codename: trixie
Date: Sat, 12 Sep 2026 07:55:41 UTC
MD5Sum:
 3e498904a30e240573dac8ddac594e6f  100 main/binary-amd64/Packages.xz
SHA256:
 ${hash}  100 main/binary-amd64/Packages.xz
`)
  expect(release.date).toBe('2026-09-12T07:55:41Z')
  expect(release.suite).toBe('trixie')
  expect(release.sha256.get('main/binary-amd64/Packages.xz')).toBe(hash)
})

test.each(['', 'Date: today', 'Date: Sat, 12 Sep 2026 07:55:41 UTC'])(
  'a Release file without date or hashes (%j) is refused',
  (text) => {
    expect(() => parseRelease(text)).toThrow(expect.objectContaining({ code: 'build-failed' }))
  },
)
