/** The whole initramfs, from Debian's packages, on a virtual machine: slow once, when the packages are not in .cache yet. */
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type BuiltImage, buildAgent } from '../../src/builder/agent-image.ts'
import { encodeCpio } from '../../src/builder/cpio.ts'
import { aptMirrors } from '../../src/builder/mirror.ts'
import { skipReason, tool } from '../support/tools.ts'

const shared = join(import.meta.dirname, '../../.cache/muster')
const qemu = tool('qemu-system-x86_64')
const initramfsBytesMax = 12_000_000

/** Stands for the agent: says what it finds, and switches off. */
const probe = `
import * as std from 'std'
import * as os from 'os'
const run = (...argv) => os.exec(argv)
console.log('config: ' + std.loadFile('/etc/muster/config.json'))
run('curl', '--version')
run('openssl', 'version')
run('kexec', '--version')
run('sh', '-c', 'echo interfaces: $(ls /sys/class/net); echo applets: $(busybox --list | wc -l)')
run('poweroff', '-f')
`

let folder: string
let image: BuiltImage
const build = async (cacheDir: string, outDir: string) =>
  buildAgent({
    arch: 'amd64',
    hardware: 'virtual',
    mirrors: await aptMirrors(),
    cacheDir,
    outDir: join(folder, outDir),
    config: Buffer.from('{"mine":true}'),
    trustedRoot: Buffer.from('{}'),
    commandLine: 'console=ttyS0',
    agentBundle: Buffer.from(probe),
  })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-image-'))
  await mkdir(join(shared, 'packages'), { recursive: true })
  image = await build(shared, 'first')
}, 600_000)
afterAll(async () => rm(folder, { recursive: true, force: true }))

describe("the agent's initramfs", () => {
  test('is at most 12 MB', () => {
    expect(image.initramfsBytes).toBeLessThan(initramfsBytesMax)
  })

  test('is the same bytes when it is built again from the same lock', async () => {
    const cold = join(folder, 'cold')
    await mkdir(cold)
    await symlink(join(shared, 'packages'), join(cold, 'packages'))
    const again = await build(cold, 'second')
    expect(again.initramfsSha256).toBe(image.initramfsSha256)
    expect(again.kernelSha256).toBe(image.kernelSha256)
  }, 120_000)

  test('ends with the configuration as an archive of its own, which wins over what is before it', async () => {
    const bytes = await readFile(image.initramfs)
    const settings = encodeCpio([
      { type: 'directory', path: 'etc/muster', mode: 0o755 },
      { type: 'file', path: 'etc/muster/config.json', mode: 0o644, bytes: Buffer.from('{"mine":true}') },
      { type: 'file', path: 'etc/muster/root.json', mode: 0o644, bytes: Buffer.from('{}') },
    ])
    expect(bytes.subarray(bytes.length - settings.length)).toEqual(settings)
    expect((bytes.length - settings.length) % 4).toBe(0)
  })

  test.skipIf(qemu === undefined)(
    `boots, finds its network card and runs each of its programs${qemu ? '' : ` (${skipReason('qemu-system-x86_64')})`}`,
    async () => {
      const console = await boot(image)
      expect(console).toContain('muster agent: started')
      expect(console).toContain('config: {"mine":true}')
      expect(console).toMatch(/curl 8\.\S+ .*OpenSSL/)
      expect(console).toMatch(/OpenSSL 3\./)
      expect(console).toContain('kexec-tools')
      expect(console).toMatch(/interfaces: .*eth0/)
      expect(console).toMatch(/applets: \d{3}/)
      expect(console).not.toMatch(/symbol lookup error|not found|Kernel panic/)
    },
    120_000,
  )
})

/** What the serial console said until the machine switched itself off. */
async function boot({ kernel, initramfs }: BuiltImage): Promise<string> {
  const devices = ['-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,romfile=']
  const quiet = ['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot']
  const append = 'console=tty0 console=ttyS0 quiet panic=-1'
  const child = spawn(
    qemu!,
    [
      '-accel',
      'tcg',
      '-m',
      '256',
      ...quiet,
      ...devices,
      '-kernel',
      kernel,
      '-initrd',
      initramfs,
      '-append',
      append,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], timeout: 110_000 },
  )
  let text = ''
  for await (const chunk of child.stdout) text += chunk
  return text
}
