/** A server with an agent for arm64 and a Raspberry Pi's firmware, and machines that it knows by serial number. */
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { cleanIdentifiers } from '../../src/machines/identifiers.ts'
import { helloOf } from '../machines/world.ts'
import { boards, bootRaspberryPi, hasPrefix, type PiModel } from './raspberry-pi.ts'
import { startServer } from './server.ts'

const kernel = Buffer.alloc(9_000_001, 'a kernel for arm64 ')
const initramfs = Buffer.alloc(3_000_001, 'an initramfs ')

/** With real firmware: one file that the operator has a version of their own of. */
const operatorsOwn = 'fixup4.dat'
const operatorsBytes = 4321

/** Serial numbers as Linux says them; a boot loader says the last eight digits. */
const known = [
  { serial: '10000000b66c4c16', mac: 'b8:27:eb:6c:4c:16', model: 3, prefix: 'b66c4c16' },
  { serial: '10000000d9780558', mac: 'dc:a6:32:01:36:c2', model: 4, prefix: 'd9780558' },
  { serial: 'c850d3d2d905d499', mac: '2c:cf:67:84:a1:44', model: 5, prefix: '2c-cf-67-84-a1-44' },
] as const

/** Every board boots its own tree; one that is retired finds nothing. @throws Error with what was seen instead */
export async function runRack(options: {
  settings: Readonly<Record<string, string>>
  host: string
  /** Writes real firmware, as the first start would; by default the operator's folder has some that has its own name for content. */
  firmware?(outDir: string): Promise<unknown>
  print(line: string): void
}): Promise<void> {
  const data = await mkdtemp(join(tmpdir(), 'muster-pi-'))
  try {
    await furnish(data, options.firmware)
    const files = join(data, 'own-files')
    await using server = await startServer({
      data,
      settings: { files, 'tftp.enabled': 'true', ...options.settings },
    })
    const { machines, ports } = server.running
    const at = { host: options.host, port: ports.tftp as number }
    await machines.profiles.put({ name: 'all', image: { name: 'edge', channel: 'stable' } })
    for (const { mac, prefix, serial } of known) {
      const request = {
        ...helloOf(mac, { serial }),
        agent: { version: '0.1.0', arch: 'arm64' as const, origin: 'network' as const },
      }
      const { machine } = await machines.hello(request, {
        address: options.host,
        rawBytes: Buffer.from(JSON.stringify(request)),
      })
      await machines.rename(
        machine.id,
        `pi-${cleanIdentifiers(request.identifiers).serial?.slice(-4)}`,
        'test',
      )
      await machines.approve(machine.id, 'test')
      options.print(`${prefix} is ${machine.id}`)
    }
    const boot = join(data, 'boot/raspberry-pi')
    for (const { mac, model, prefix, serial } of known) {
      const booted = await bootRaspberryPi({ server: at, model, prefix })
      const wants = [
        [booted.kernel.equals(kernel), 'the agent’s kernel'],
        [booted.initramfs.equals(initramfs), 'the agent’s initramfs'],
        [booted.config.includes(`pi-${serial.slice(-4)}`), 'a config.txt of its own'],
        [
          booted.commandLine.includes(`muster.server=https://${options.host}:${ports.agent}`),
          'the server’s address',
        ],
        [
          prefix.includes('-') === booted.commandLine.includes(`BOOTIF=01-${mac.replaceAll(':', '-')}`),
          'BOOTIF where the prefix says it',
        ],
        [await areOf(booted.loaded, options.firmware && boot), 'the firmware of the package'],
      ] as const
      for (const [is, what] of wants)
        if (!is) throw new Error(`Pi ${model} did not get ${what}: ${booted.commandLine}`)
      options.print(
        `Pi ${model} (${prefix}): ${booted.loaded.size} files, blksize ${boards[model].options['blksize'] ?? 512}`,
      )
    }
    const { items } = await server.api.call<{ items: { name: string }[] }>({
      method: 'GET',
      path: '/unknown-files',
    })
    if (items.length > 0)
      throw new Error(`a Pi asked in vain for ${items.map(({ name }) => name).join(', ')}`)
    await refusals(server.running.machines, at)
  } finally {
    await rm(data, { recursive: true, force: true })
  }
}

/** A machine that is to go on must find neither its folder nor, after dropping the prefix, anything at the root. */
async function refusals(
  machines: Awaited<ReturnType<typeof startServer>>['running']['machines'],
  at: { host: string; port: number },
): Promise<void> {
  await machines.retire('dc:a6:32:01:36:c2', 'test')
  const expectations: [model: PiModel, prefix: string, there: boolean][] = [
    [4, 'd9780558', false],
    [4, '.', false],
    [3, 'b66c4c16', true],
    [4, '0badcafe', true],
  ]
  for (const [model, prefix, there] of expectations) {
    if ((await hasPrefix(at, model, prefix).catch(() => false)) !== there)
      throw new Error(`Pi ${model}: ${prefix}/ is ${there ? 'not ' : ''}there`)
  }
}

/** Whether what a board loaded is, byte for byte in number, what the package has, and the operator's where theirs stands in front of it. */
async function areOf(loaded: ReadonlyMap<string, number>, folder: string | undefined): Promise<boolean> {
  for (const [path, bytes] of folder === undefined ? [] : loaded) {
    const name = basename(path)
    const found = await stat(join(folder as string, name)).catch(() => undefined)
    const expected = name === operatorsOwn ? operatorsBytes : found?.size
    if (expected !== undefined && expected !== bytes) return false
  }
  return true
}

async function furnish(data: string, realFirmware?: (outDir: string) => Promise<unknown>): Promise<void> {
  const firmware = join(data, 'own-files/raspberry-pi')
  const agent = join(data, 'boot/agent/arm64')
  for (const folder of [firmware, agent]) await mkdir(folder, { recursive: true })
  await writeFile(join(agent, 'kernel'), kernel)
  await writeFile(join(agent, 'initramfs'), initramfs)
  if (realFirmware !== undefined) {
    await realFirmware(join(data, 'boot/raspberry-pi'))
    await writeFile(join(firmware, operatorsOwn), Buffer.alloc(operatorsBytes))
    return
  }
  const names = Object.values(boards).flatMap(({ after, before, rom }) => [...rom, ...before, ...after])
  for (const { how, name } of names) {
    // 2.2 MB, as start4.elf has: more than one window, and a last block that is not full.
    if (how !== 'absent' && name !== 'config.txt')
      await writeFile(join(firmware, name), Buffer.alloc(2_200_003, name))
  }
}
