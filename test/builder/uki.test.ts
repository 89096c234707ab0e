import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { peSection, readPe } from '../../src/builder/pe.ts'
import { unifiedKernelImage } from '../../src/builder/uki.ts'
import { skipReason, tool } from '../support/tools.ts'
import { smallPe } from './pe-simulator.ts'

const ukify = tool('ukify')
const needsUkify = ukify === undefined ? ` (${skipReason('ukify')})` : ''
const parts = {
  arch: 'amd64' as const,
  stub: smallPe(),
  kernel: smallPe(),
  initramfs: Buffer.from('initramfs'),
  commandLine: 'console=ttyS0 muster.server=https://192.0.2.1:8443',
  osRelease: { ID: 'muster-agent', PRETTY_NAME: 'Muster boot agent' },
  kernelRelease: '6.12.0-test',
}

describe('a unified kernel image', () => {
  test('holds kernel, initramfs and arguments, the kernel last', () => {
    const image = unifiedKernelImage(parts)
    expect(peSection(image, '.linux', 'image')).toEqual(parts.kernel)
    expect(peSection(image, '.initrd', 'image')).toEqual(parts.initramfs)
    expect(String(peSection(image, '.cmdline', 'image'))).toBe(parts.commandLine)
    expect(String(peSection(image, '.osrel', 'image'))).toBe(
      'ID=muster-agent\nPRETTY_NAME="Muster boot agent"\n',
    )
    expect(readPe(image, 'image').sections.at(-1)?.name).toBe('.linux')
  })

  test("of one architecture's stub and another one's kernel is refused at the desk", () => {
    const kernel = smallPe({ machine: 0xaa64 })
    expect(() => unifiedKernelImage({ ...parts, kernel })).toThrow(
      expect.objectContaining({ code: 'build-failed', message: expect.stringContaining('0xaa64') }),
    )
  })

  test('takes arguments of one line alone', () => {
    expect(() => unifiedKernelImage({ ...parts, commandLine: 'quiet\ninit=/bin/sh' })).toThrow(
      expect.objectContaining({ code: 'build-failed' }),
    )
  })

  test.skipIf(ukify === undefined)(`is one to systemd's own tool${needsUkify}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'muster-uki-'))
    try {
      const file = join(folder, 'agent.efi')
      writeFileSync(file, unifiedKernelImage(parts))
      const seen = JSON.parse(execFileSync(ukify!, ['--json=short', 'inspect', file], { encoding: 'utf8' }))
      expect(seen['.cmdline'].text).toBe(parts.commandLine)
      expect(seen['.uname'].text).toBe(parts.kernelRelease)
      expect(seen['.linux'].size).toBe(parts.kernel.length)
      expect(seen['.initrd'].size).toBe(parts.initramfs.length)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
