/** The firmware of Raspberry Pis, from packages that the test makes; `npm run lab -- raspberry-pi` takes Debian's. */
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readImagesLock } from '../../src/builder/agent-image.ts'
import type { Lock, LockedPackage } from '../../src/builder/lock.ts'
import { fetchRaspberryPiFirmware, raspberryPiPackages } from '../../src/builder/raspberry-pi.ts'

const boot = 'usr/lib/raspi-firmware'
const trees = 'usr/lib/linux-image-6.12/broadcom'
const firmware = [
  ...['bootcode.bin', 'start.elf', 'fixup.dat', 'start4.elf', 'fixup4.dat'].map((name) => `${boot}/${name}`),
  `${boot}/start4db.elf`,
  `${boot}/overlays/pi4-spidev.dtbo`,
  'usr/share/doc/raspi-firmware/copyright',
  'etc/kernel/postinst.d/z50-raspi-firmware',
]
const kernel = [
  ...['bcm2837-rpi-3-b.dtb', 'bcm2711-rpi-4-b.dtb', 'bcm4908-router.dtb'].map((name) => `${trees}/${name}`),
  'boot/vmlinuz-6.12',
]

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-pi-firmware-'))
  await mkdir(join(folder, 'packages'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

/** A package with files whose content is their name, in the cache and for the lock. deb(5). */
async function packaged(name: string, set: string, paths: readonly string[]): Promise<LockedPackage> {
  const archive = pack()
  for (const path of paths) archive.entry({ name: `./${path}` }, basename(path))
  archive.finalize()
  const data = Buffer.concat(await Array.fromAsync(archive as AsyncIterable<Buffer>))
  const head = `${'data.tar'.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`
  const bytes = Buffer.concat([Buffer.from(`!<arch>\n${head}`), data])
  const file = `${name}_1_all.deb`
  await writeFile(join(folder, 'packages', file), bytes)
  return {
    ...{ name, version: '1', architectures: ['amd64', 'arm64'], sets: [set], path: `pool/main/x/${file}` },
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }
}

async function fetchFrom(paths: readonly string[]): Promise<{ names: string[]; outDir: string }> {
  const lock: Lock = {
    ...{ apiVersion: 'muster/v1', suite: 'trixie', date: '2026-11-21T09:15:44Z' },
    packages: [
      await packaged('raspi-firmware', 'raspberry-pi', paths),
      await packaged('linux-image', 'kernel-server', kernel),
    ],
  }
  const outDir = join(folder, 'out')
  return { names: await fetchRaspberryPiFirmware({ mirrors: [], cacheDir: folder, outDir, lock }), outDir }
}

describe('the firmware of Raspberry Pis', () => {
  test('is boot code, its licence and the device trees of boards that boot it, in one folder, and nothing else', async () => {
    const { names, outDir } = await fetchFrom(firmware)
    expect(names).toEqual([
      ...['bcm2711-rpi-4-b.dtb', 'bcm2837-rpi-3-b.dtb', 'bootcode.bin', 'copyright'],
      ...['fixup.dat', 'fixup4.dat', 'start.elf', 'start4.elf'],
    ])
    expect((await readdir(outDir)).sort()).toEqual(names)
    for (const name of names) expect((await readFile(join(outDir, name))).toString()).toBe(name)
  })

  test.each(['start4.elf', 'copyright'])(
    'is not taken from a package that has no %s any more',
    async (lost) => {
      await expect(fetchFrom(firmware.filter((path) => !path.endsWith(lost)))).rejects.toMatchObject({
        code: 'build-failed',
        message: expect.stringContaining(`have no ${lost};`),
      })
      expect(await readdir(folder)).not.toContain('out')
    },
  )

  test('is in our lock, with nothing that only an installation needs', async () => {
    const names = raspberryPiPackages(await readImagesLock()).map(({ name }) => name)
    expect(names).toHaveLength(2)
    expect(names).toContain('raspi-firmware')
    expect(names.some((name) => /^linux-image-.*-arm64$/.test(name))).toBe(true)
  })
})
