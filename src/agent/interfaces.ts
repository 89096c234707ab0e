/** The machine's wired network interfaces, as the kernel names them. */
import type { Host } from './host.ts'
import { asciiText } from './text.ts'

export type Interface = { name: string; mac: string }

/** ARPHRD_ETHER with a device behind it (no bridge, VLAN or tunnel), in the kernel's order. */
export async function listInterfaces(host: Host, sysFolder: string): Promise<Interface[]> {
  const found: Interface[] = []
  for (const name of await host.listFolder(`${sysFolder}/class/net`)) {
    const folder = `${sysFolder}/class/net/${name}`
    const mac = asciiText(await host.readFile(`${folder}/address`, 64)).trim()
    const type = asciiText(await host.readFile(`${folder}/type`, 16)).trim()
    const device = await host.listFolder(`${folder}/device`)
    if (type === '1' && device.length > 0 && /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/.test(mac))
      found.push({ name, mac })
  }
  return found
}

/** The interface that booted first, then those with a link. */
export function inOrder(
  interfaces: readonly (Interface & { carrier: boolean })[],
  bootMac: string | undefined,
): Interface[] {
  const rank = (one: Interface & { carrier: boolean }) => (one.mac === bootMac ? 0 : one.carrier ? 1 : 2)
  return [...interfaces].sort((a, b) => rank(a) - rank(b))
}

/** Reading `carrier` of an interface that is down is an error, which means no link as well. */
export async function hasCarrier(host: Host, sysFolder: string, name: string): Promise<boolean> {
  return asciiText(await host.readFile(`${sysFolder}/class/net/${name}/carrier`, 4)).trim() === '1'
}
