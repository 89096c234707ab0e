/** IPv4 addresses, from a DHCP server or from `muster.ip=`. Pure. */
import { MusterError } from '../errors.ts'
import { printable } from './text.ts'

export type Address = {
  ip: string
  /** Length of the network part. */
  prefix: number
  gateway?: string
  nameServers: string[]
  leaseSeconds?: number
  /** Hosts that the lease names as one to boot from, the likeliest first. */
  bootHosts: string[]
}

/** What udhcpc runs: it writes its variables down and touches nothing (busybox, networking/udhcp/dhcpc.c). */
export function leaseScript(leasePath: string): string {
  const names = [
    'ip',
    'mask',
    'router',
    'dns',
    'lease',
    'bootfile',
    'boot_file',
    'siaddr',
    'tftp',
    'serverid',
  ]
  const words = names.map((name) => `"${name}=$${name}"`).join(' ')
  return `#!/usr/bin/busybox sh
case "$1" in bound|renew) printf '%s\\n' ${words} > '${leasePath}' ;; esac
`
}

/** Attacker-controlled. Undefined unless there is an address with a prefix; other parts that are not sound are left out. */
export function parseLease(text: string): Address | undefined {
  const values = new Map<string, string>()
  for (const line of text.split('\n')) {
    const split = line.indexOf('=')
    if (split > 0) values.set(line.slice(0, split), line.slice(split + 1).trim())
  }
  const ip = values.get('ip') ?? ''
  const prefix = Number(values.get('mask') ?? '')
  if (!isIpv4(ip) || !isPrefix(prefix)) return undefined
  const gateway = (values.get('router') ?? '').split(/\s+/).find(isIpv4)
  const leaseSeconds = Number(values.get('lease') ?? '')
  return {
    ip,
    prefix,
    nameServers: (values.get('dns') ?? '').split(/\s+/).filter(isIpv4).slice(0, 3),
    bootHosts: bootHosts(values),
    ...(gateway === undefined ? {} : { gateway }),
    ...(leaseSeconds >= 1 ? { leaseSeconds: Math.max(leaseSeconds, 60) } : {}),
  }
}

/**
 * `<address>/<prefix>[,<gateway>[,<name server>]]`.
 * @throws MusterError `network-unavailable` for anything else
 */
export function parseStaticAddress(text: string): Address {
  const [address = '', gateway, nameServer] = text.split(',')
  const [ip = '', prefix] = address.split('/')
  const others = [gateway, nameServer].filter((other) => other !== undefined && other !== '')
  if (!isIpv4(ip) || !/^\d+$/.test(prefix ?? '') || !isPrefix(Number(prefix)) || !others.every(isIpv4))
    throw new MusterError(
      'network-unavailable',
      `muster.ip=${printable(text, 80)} on the kernel command line is not of the form ` +
        '192.0.2.10/24,192.0.2.1,192.0.2.53 (address/prefix, gateway, name server).',
    )
  return {
    ip,
    prefix: Number(prefix),
    nameServers: nameServer ? [nameServer] : [],
    bootHosts: [],
    ...(gateway ? { gateway } : {}),
  }
}

/**
 * Options 67 or `file` where they hold a URL, then next-server (`siaddr`), option 66, and last the DHCP server itself, which is where
 * many small networks have everything. IPv4 addresses only: a name would be the name server's word too.
 */
function bootHosts(values: ReadonlyMap<string, string>): string[] {
  const value = (name: string) => values.get(name) ?? ''
  const urls = [value('bootfile'), value('boot_file')].map((url) => urlHost(url))
  const hosts = [...urls, value('siaddr'), value('tftp'), value('serverid')]
  return [...new Set(hosts.filter(isIpv4))].filter((host) => host !== '0.0.0.0').slice(0, 4)
}

/** The host of an http or tftp URL; undefined for anything else. */
function urlHost(url: string): string | undefined {
  return /^(?:https?|tftp):\/\/([^/:?#@\s]+|\[[0-9a-f:]+\])(?::\d+)?(?:\/|$)/i.exec(url)?.[1]
}

function isIpv4(text: string | undefined): text is string {
  const octets = (text ?? '').split('.')
  return octets.length === 4 && octets.every((octet) => /^\d{1,3}$/.test(octet) && Number(octet) <= 255)
}

function isPrefix(length: number): boolean {
  return Number.isInteger(length) && length >= 1 && length <= 32
}
