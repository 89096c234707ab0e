import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readElf } from '../../src/builder/elf.ts'
import { encodeStub, exportsOf, importsOf } from '../../src/builder/stub-library.ts'
import { skipReason, tool } from '../support/tools.ts'

const machine = process.arch === 'arm64' ? 183 : 62
const symbols = [
  { name: 'ldap_init', version: { library: 'libldap.so.2', name: 'OPENLDAP_2.200' } },
  { name: 'RTMP_Alloc' },
  { name: 'ldap_get_option', version: { library: 'libldap.so.2', name: 'OPENLDAP_2.200' } },
]
const stub = encodeStub({ soname: 'libldap.so.2', machine, symbols })
const python = tool('python3')

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-stub-'))
  await writeFile(join(folder, 'libldap.so.2'), stub)
})
afterAll(async () => rm(folder, { recursive: true, force: true }))

describe('a stub library', () => {
  test('has its name and needs nothing itself', () => {
    expect(readElf(stub, 'stub')).toEqual({
      machine,
      interpreter: undefined,
      soname: 'libldap.so.2',
      needed: [],
    })
  })

  test('is the same bytes whatever order its symbols come in', () => {
    expect(encodeStub({ soname: 'libldap.so.2', machine, symbols: symbols.toReversed() })).toEqual(stub)
  })

  test.skipIf(python === undefined)(
    `is loaded by the dynamic linker, and its functions return 0, or -1 where 0 would promise a result${python ? '' : ` (${skipReason('python3')})`}`,
    () => {
      const script = `import ctypes; l = ctypes.CDLL('${folder}/libldap.so.2'); print(l.ldap_init(7), l.RTMP_Alloc(), l.ldap_get_option(0, 0, 0))`
      expect(execFileSync(python!, ['-c', script], { encoding: 'utf8' }).trim()).toBe('0 0 -1')
    },
  )

  test.skipIf(python === undefined)(
    `has the versions that programs ask for, and no others${python ? '' : ` (${skipReason('python3')})`}`,
    () => {
      const script = `
import ctypes
handle = ctypes.CDLL('${folder}/libldap.so.2')._handle
find = ctypes.CDLL(None).dlvsym
find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
print(*[find(handle, b'ldap_init', version) is not None for version in (b'OPENLDAP_2.200', b'OPENLDAP_9')])`
      expect(execFileSync(python!, ['-c', script], { encoding: 'utf8' }).trim()).toBe('True False')
    },
  )
})

describe('a program', () => {
  test('imports what its libraries must have, with the version and the library that has it', async () => {
    const imports = importsOf(await readFile(process.execPath), 'node')
    const found = imports.find(({ name }) => name === 'malloc' || name === 'memcpy')
    expect(found?.version).toMatchObject({ library: 'libc.so.6', name: expect.stringMatching(/^GLIBC_/) })
  })

  test('exports what plugins take from it', async () => {
    expect(exportsOf(await readFile(process.execPath), 'node').has('napi_create_function')).toBe(true)
  })
})
