import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  aptMirrors,
  defaultMirror,
  parseDeb822Sources,
  parseOneLineSources,
} from '../../src/builder/mirror.ts'

test('one-line sources give the mirror of Debian main, without security, updates, sources and other archives', () => {
  const text = `
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://mirror.example/debian/ bookworm main contrib # ours
deb-src http://source.example/debian bookworm main
deb http://security.debian.org/debian-security bookworm-security main
deb http://archive.ubuntu.com/ubuntu noble main
deb https://packages.example/apt stable extra
deb cdrom:[Debian] bookworm main
`
  expect(parseOneLineSources(text)).toEqual(['http://mirror.example/debian'])
})

test('deb822 sources are read by paragraph, with folded fields and several URIs', () => {
  const text = `Types: deb deb-src
# a comment inside
URIs: http://one.example/debian
  https://two.example/debian/
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://one.example/debian-security
Suites: trixie-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
`
  expect(parseDeb822Sources(text)).toEqual(['http://one.example/debian', 'https://two.example/debian'])
})

test("apt's own mirror is asked first and Debian's own last; without apt only Debian's", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-apt-'))
  try {
    expect(await aptMirrors(folder)).toEqual([defaultMirror])
    await mkdir(join(folder, 'sources.list.d'))
    await writeFile(join(folder, 'sources.list'), 'deb http://near.example/debian trixie main\n')
    await writeFile(
      join(folder, 'sources.list.d/debian.sources'),
      'Types: deb\nURIs: http://far.example/debian\nSuites: sid\nComponents: main\n',
    )
    await writeFile(
      join(folder, 'sources.list.d/off.list.disabled'),
      'deb http://off.example/debian trixie main\n',
    )
    expect(await aptMirrors(folder)).toEqual([
      'http://near.example/debian',
      'http://far.example/debian',
      defaultMirror,
    ])
  } finally {
    await rm(folder, { recursive: true })
  }
})
