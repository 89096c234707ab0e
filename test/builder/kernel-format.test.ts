import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { kernelHeadBytes, kernelProblem } from '../../src/builder/kernel-format.ts'
import { asKernel } from '../support/kernel-bytes.ts'
import { smallPe } from './pe-simulator.ts'

const bzImage = asKernel(randomBytes(9000))
const image = asKernel(randomBytes(9000), 'arm64')
const head = (bytes: Buffer) => bytes.subarray(0, kernelHeadBytes)

function zboot(compression: string, machine = 0xaa64): Buffer {
  const bytes = smallPe({ machine })
  bytes.write('zimg', 4, 'latin1')
  bytes.write(compression.padEnd(16, '\0'), 0x18, 'latin1')
  return bytes
}

function thirtyTwoBit(): Buffer {
  const bytes = Buffer.from(bzImage)
  bytes.writeUInt16LE(0, 0x236)
  return bytes
}

describe('a file is taken as a kernel', () => {
  test.each([
    ['a bzImage on amd64', bzImage, 'amd64'],
    ['a bzImage with an EFI stub', asKernel(smallPe()), 'amd64'],
    ['an Image on arm64', image, 'arm64'],
    ['a gzipped Image on arm64, of which only the beginning is there', gzipSync(image), 'arm64'],
    ['an EFI zboot of gzip', zboot('gzip'), 'arm64'],
    ['an EFI zboot of lzma', zboot('lzma'), 'arm64'],
  ] as const)('that is %s', (_, bytes, arch) => {
    expect(kernelProblem(head(bytes), arch)).toBeUndefined()
  })
})

describe('a file is refused as a kernel, by the name of what it is', () => {
  test.each([
    ['an Image of arm64', image, 'amd64'],
    ['a bzImage of amd64', bzImage, 'arm64'],
    ['a bzImage for 32 bits', thirtyTwoBit(), 'amd64'],
    // kexec -s hands the file to the kernel as it is.
    ['gzipped (a bzImage of amd64 in it)', gzipSync(bzImage), 'amd64'],
    ['gzipped (a bzImage of amd64 in it)', gzipSync(bzImage), 'arm64'],
    ['gzipped (text in it)', gzipSync('kernel'), 'arm64'],
    ['a damaged gzip file', Buffer.from('1f8b0800ffffffffffffffffffff', 'hex'), 'arm64'],
    ["compressed by 'zstd', which kexec cannot unpack", zboot('zstd'), 'arm64'],
    ['an EFI zboot of another processor', zboot('gzip', 0x6264), 'arm64'],
    ['a unified kernel image', smallPe(), 'amd64'],
    ['an ELF file', Buffer.from('\x7fELF\x02\x01', 'latin1'), 'amd64'],
    ['a cpio archive', Buffer.from('070701'), 'amd64'],
    ['text', Buffer.from('# a kernel\n'), 'amd64'],
    ['no kernel by its first bytes', Buffer.alloc(9000), 'arm64'],
  ] as const)('%s', (what, bytes, arch) => {
    expect(kernelProblem(head(bytes), arch)).toContain(what)
  })

  test('whatever its bytes and its length are', () => {
    for (let round = 0; round < 2000; round++) {
      const bytes = randomBytes(round % 700)
      const magics = ['MZ', '\x1f\x8b', '\x1f\x8b\x08\0', 'MZ\0\0zimg']
      bytes.write(magics[round % magics.length]!, 0, 'latin1')
      expect(kernelProblem(bytes, 'arm64')).toEqual(expect.any(String))
    }
  })
})
