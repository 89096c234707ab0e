/** What the machine says of itself, from SMBIOS, the device tree and the kernel. Nothing of it proves who it is. */
import type { HelloRequest } from '../protocol/hello.ts'
import type { Agent } from './agent.ts'
import { listInterfaces } from './interfaces.ts'
import { asciiText, printable } from './text.ts'

type Machine = Pick<HelloRequest, 'identifiers' | 'hardware'>

export async function readMachine(
  agent: Pick<Agent, 'host' | 'folders' | 'memory' | 'settings'>,
): Promise<Machine> {
  const { host, folders, memory, settings } = agent
  const dmi = (name: string) => readText(agent, `${folders.sys}/class/dmi/id/${name}`)
  const tree = (name: string) => readText(agent, `${folders.proc}/device-tree/${name}`)
  const interfaces = await listInterfaces(host, folders.sys)
  const vendor = await dmi('sys_vendor')
  const product = (await dmi('product_name')) ?? (await tree('model'))
  const claimed = settings.config.policy.hardwareIds
  const found = await hardwareIds(agent, vendor, product)
  return {
    identifiers: {
      macs: interfaces.map(({ mac }) => mac).slice(0, 16),
      ...optional('uuid', (await dmi('product_uuid'))?.toLowerCase()),
      ...optional('serial', (await dmi('product_serial')) ?? (await tree('serial-number'))),
      ...optional('boardSerial', await dmi('board_serial')),
      ...optional('assetTag', await dmi('chassis_asset_tag')),
    },
    hardware: {
      ...optional('vendor', vendor),
      ...optional('product', product),
      hardwareIds: claimed.length > 0 ? claimed.slice(0, 16) : found,
      memoryBytes: memory.totalBytes,
      processors: await countProcessors(agent),
      firmware: await firmware(agent),
    },
  }
}

/** Device-tree `compatible` strings, most specific first; where there are none `vendor,product`. */
async function hardwareIds(
  agent: Pick<Agent, 'host' | 'folders'>,
  vendor: string | undefined,
  product: string | undefined,
): Promise<string[]> {
  const bytes = await agent.host.readFile(`${agent.folders.proc}/device-tree/compatible`, 4096)
  const compatible = asciiText(bytes)
    .split('\0')
    .map((id) => printable(id, 128))
    .filter((id) => id !== '')
  if (compatible.length > 0) return compatible.slice(0, 16)
  return vendor === undefined || product === undefined ? [] : [printable(`${vendor},${product}`, 128)]
}

async function countProcessors(agent: Pick<Agent, 'host' | 'folders'>): Promise<number> {
  const text = asciiText(await agent.host.readFile(`${agent.folders.proc}/cpuinfo`, 1_000_000))
  return Math.max(1, text.match(/^processor\s*:/gm)?.length ?? 1)
}

async function firmware(
  agent: Pick<Agent, 'host' | 'folders'>,
): Promise<NonNullable<Machine['hardware']['firmware']>> {
  const { host, folders } = agent
  const biosVendor = await readText(agent, `${folders.sys}/class/dmi/id/bios_vendor`)
  // U-Boot offers UEFI and SMBIOS too, and is asked for other files than a PC's firmware.
  if (biosVendor?.toLowerCase() === 'u-boot') return 'u-boot'
  if ((await host.listFolder(`${folders.sys}/firmware/efi`)).length > 0) return 'uefi'
  if ((await host.listFolder(`${folders.proc}/device-tree`)).length > 0) return 'u-boot'
  return biosVendor === undefined ? 'unknown' : 'bios'
}

async function readText(agent: Pick<Agent, 'host'>, path: string): Promise<string | undefined> {
  const text = printable(asciiText(await agent.host.readFile(path, 1024)).replaceAll('\0', ''), 128)
  return text === '' ? undefined : text
}

function optional<K extends string>(name: K, value: string | undefined): { [P in K]?: string } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]?: string })
}
