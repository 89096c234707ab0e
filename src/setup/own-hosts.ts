/** By which names or addresses machines may reach this server, as far as it knows itself. */
import { networkInterfaces } from 'node:os'
import { bracketed } from '../boot/urls.ts'
import type { Config } from '../config/schema.ts'

const everyAddress = new Set(['0.0.0.0', '::'])
const hostsMax = 4

/**
 * The advertised one alone, or the one address that is listened on; else the addresses of this machine that are not loopback's, IPv4
 * before IPv6. Empty where it has none.
 */
export function ownHosts({ advertise, firmware }: Pick<Config, 'advertise' | 'firmware'>): string[] {
  if (advertise !== undefined) return [advertise]
  if (!everyAddress.has(firmware.host)) return [firmware.host]
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const outside = all.filter(({ internal, address }) => !internal && !address.startsWith('fe80'))
  const ofFamily = (wanted: string) => outside.filter(({ family }) => family === wanted)
  return [...ofFamily('IPv4'), ...ofFamily('IPv6')].map(({ address }) => address).slice(0, hostsMax)
}

/**
 * A listener's host as one that a person or a program on another machine can open: 0.0.0.0 and :: are every address of this machine
 * and no address to go to.
 */
export function openableHost(
  host: string,
  config: Pick<Config, 'advertise' | 'firmware'>,
): { host: string; note?: string } {
  if (!everyAddress.has(host)) return { host: bracketed(host) }
  const [own = '127.0.0.1'] = ownHosts({ ...config, firmware: { ...config.firmware, host } })
  return { host: bracketed(own), note: `listens on every address (${host})` }
}
