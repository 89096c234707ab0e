/**
 * A machine with LinuxBoot in its flash: Debian's cloud kernel and an initramfs of u-root's init and pxeboot, built from its Go module.
 * u-root's init loads lib/modules/*.ko in the order of their names and then starts bin/uinit (pkg/libinit, cmds/core/init).
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readImagesLock } from '../../src/builder/agent-image.ts'
import { type CpioEntry, encodeCpio } from '../../src/builder/cpio.ts'
import { fetchPackages } from '../../src/builder/download.ts'
import { readKernel } from '../../src/builder/kernel.ts'
import { lockedPackages } from '../../src/builder/lock.ts'
import { aptMirrors } from '../../src/builder/mirror.ts'
import { tool } from '../support/tools.ts'

const version = 'v0.16.0'
const cache = join(import.meta.dirname, '../../.cache')
const folder = join(cache, `u-root-${version}`)
const programs = { init: 'cmds/core/init', pxeboot: 'cmds/boot/pxeboot' }

export const uRootFiles = { kernel: join(folder, 'kernel'), initrd: join(folder, 'initramfs.cpio') }

/** Builds once; a second run finds it. @throws Error when Go is missing, or what it says */
export async function buildURoot(): Promise<void> {
  if (existsSync(uRootFiles.initrd)) return
  const go = tool('go')
  if (go === undefined) throw new Error('Go is missing: apt-get install golang-go (1.25 or later)')
  await mkdir(folder, { recursive: true })
  const packages = Object.values(programs).map((path) => `github.com/u-root/u-root/${path}@${version}`)
  const environment = { CGO_ENABLED: '0', GOBIN: folder, GOFLAGS: '-trimpath', GOTOOLCHAIN: 'local' }
  for (const one of packages)
    execFileSync(go, ['install', '-ldflags=-s -w', one], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
  const { image, modules } = await cloudKernel()
  const program = async (name: string) => readFile(join(folder, name))
  const directory = (path: string, mode = 0o755): CpioEntry => ({ type: 'directory', path, mode })
  const entries: CpioEntry[] = [
    { type: 'file', path: 'init', mode: 0o755, bytes: await program('init') },
    { type: 'file', path: 'bin/pxeboot', mode: 0o755, bytes: await program('pxeboot') },
    { type: 'symlink', path: 'bin/uinit', target: 'pxeboot' },
    { type: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    ...['etc', 'proc', 'sys', 'tmp'].map((path) => directory(path)),
    ...inLoadOrder(modules),
  ]
  await writeFile(uRootFiles.kernel, image)
  await writeFile(uRootFiles.initrd, encodeCpio(entries))
}

async function cloudKernel() {
  const lock = await readImagesLock()
  const packages = lockedPackages(lock, ['kernel-virtual'], 'amd64')
  const files = await fetchPackages(packages, {
    mirrors: await aptMirrors(),
    cacheDir: join(cache, 'muster/packages'),
  })
  const file = [...files].find(([name]) => name.startsWith('linux-image-'))?.[1]
  if (file === undefined) throw new Error('images/agent/packages.lock has no kernel-virtual')
  return readKernel(file, ['virtio_pci', 'virtio_net', 'virtio_rng'])
}

/** modules.dep says what each needs, the last first (kmod, depmod(8)). */
function inLoadOrder(entries: readonly CpioEntry[]): CpioEntry[] {
  const files = new Map(
    entries.flatMap((entry) => (entry.type === 'file' ? [[entry.path, entry] as const] : [])),
  )
  const [depPath, dep] = [...files].find(([path]) => path.endsWith('/modules.dep')) ?? []
  const base = depPath?.slice(0, -'modules.dep'.length) ?? ''
  const needs = new Map(
    Buffer.from(dep?.bytes ?? [])
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [path = '', rest = ''] = line.split(':')
        return [path, rest.split(' ').filter((each) => each !== '')] as const
      }),
  )
  const ordered = new Set<string>()
  const add = (path: string) => {
    if (ordered.has(path)) return
    for (const needed of needs.get(path) ?? []) add(needed)
    ordered.add(path)
  }
  for (const path of needs.keys()) add(path)
  return [...ordered].map((path, index) => {
    const file = files.get(`${base}${path}`)
    if (file === undefined) throw new Error(`${path} is in modules.dep and not there`)
    const name = `${String(index).padStart(2, '0')}-${path.split('/').at(-1)}`
    return { ...file, path: `lib/modules/${name}` }
  })
}
