/**
 * Brings up one interface with an address: the one that booted (BOOTIF), else each in turn until one gets a lease.
 * What DHCP answers is attacker-controlled: it is read as data and checked, no script of it sets anything.
 */
import { MusterError } from '../../errors.ts'
import { encodeUtf8 } from '../../wire/utf8.ts'
import type { Agent } from '../agent.ts'
import { hasCarrier, type Interface, inOrder, listInterfaces } from '../interfaces.ts'
import { type Address, leaseScript, parseLease, parseStaticAddress } from '../lease.ts'
import { run } from '../program.ts'
import { asciiText, printable } from '../text.ts'

export type Network = {
  /** The interface with the address: `eth0`, or `eth0.<vlan>`. */
  name: string
  /** Hosts that DHCP named as one to boot from. */
  bootHosts: readonly string[]
  /** Asks for the lease again once half of it is over; a machine may wait days for its approval. */
  renewIfDue(): Promise<void>
}

/** @throws MusterError `network-unavailable` saying what was tried on which interface */
export async function network(agent: Agent): Promise<Network> {
  const { host, settings, folders, console } = agent
  const vlan = settings.boot.vlan
  if (vlan !== undefined && !(/^\d{1,4}$/.test(vlan) && Number(vlan) >= 1 && Number(vlan) <= 4094))
    throw unavailable(
      `muster.vlan=${printable(vlan, 20)} on the kernel command line is no VLAN from 1 to 4094.`,
    )
  const tried: string[] = []
  for (const { name } of await candidates(agent)) {
    if (!(await waitForLink(agent, name))) {
      tried.push(`${name} has no link`)
      continue
    }
    const used = vlan === undefined ? name : await addVlan(agent, name, vlan)
    const address = await findAddress(agent, used)
    if (address === undefined) {
      tried.push(`${used} got no answer from a DHCP server`)
      continue
    }
    if (address !== 'ipv6') await setAddress(agent, used, address)
    await console.line(
      `network: ${used} has ${address === 'ipv6' ? 'an IPv6 address' : `${address.ip}/${address.prefix}`}`,
    )
    let askedAtMs = host.now()
    return {
      name: used,
      bootHosts: address === 'ipv6' ? [] : address.bootHosts,
      async renewIfDue() {
        if (address === 'ipv6' || address.leaseSeconds === undefined) return
        if (host.now() - askedAtMs < address.leaseSeconds * 500) return
        askedAtMs = host.now()
        const renewed = await dhcp(agent, used)
        if (renewed !== undefined) await setAddress(agent, used, renewed)
      },
    }
  }
  const hint = tried.length === 0 ? `no wired interface in ${folders.sys}/class/net` : tried.join('; ')
  throw unavailable(
    `No network: ${hint}. Check cable, switch port and driver, or give muster.ip= and muster.vlan= on the kernel command line.`,
  )
}

/** Waits until the interface that booted is there, or, where none is named, any. */
async function candidates(agent: Agent): Promise<Interface[]> {
  const { host, folders, limits, settings } = agent
  const bootMac = settings.boot.bootMac
  const untilMs = host.now() + limits.interfaceTimeoutMs
  let found = await listInterfaces(host, folders.sys)
  const complete = () => found.some(({ mac }) => bootMac === undefined || mac === bootMac)
  while (!complete() && host.now() < untilMs) {
    await host.sleep(200)
    found = await listInterfaces(host, folders.sys)
  }
  for (const { name } of found) await ip(agent, 'link', 'set', 'dev', name, 'up')
  const withCarrier = await Promise.all(
    found.map(async (one) => ({ ...one, carrier: await hasCarrier(host, folders.sys, one.name) })),
  )
  return inOrder(withCarrier, bootMac)
}

async function waitForLink(agent: Agent, name: string): Promise<boolean> {
  const { host, folders, limits } = agent
  const untilMs = host.now() + limits.linkTimeoutMs
  for (;;) {
    if (await hasCarrier(host, folders.sys, name)) return true
    if (host.now() >= untilMs) return false
    await host.sleep(100)
  }
}

async function addVlan(agent: Agent, name: string, vlan: string): Promise<string> {
  const used = `${name}.${vlan}`
  const there = await agent.host.listFolder(`${agent.folders.sys}/class/net/${used}`)
  if (there.length === 0) {
    // The kernel loads it by itself where it finds modprobe; where it is built in, this fails and does no harm.
    await run(agent.host, ['modprobe', '-q', '8021q'])
    await ip(agent, 'link', 'add', 'link', name, 'name', used, 'type', 'vlan', 'id', vlan)
  }
  await ip(agent, 'link', 'set', 'dev', used, 'up')
  return used
}

async function findAddress(agent: Agent, name: string): Promise<Address | 'ipv6' | undefined> {
  const { host, folders, settings } = agent
  if (settings.boot.address !== undefined) return parseStaticAddress(settings.boot.address)
  const lease = await dhcp(agent, name)
  if (lease !== undefined) return lease
  // The kernel configures IPv6 from router advertisements by itself. Scope 00 is global: Linux, if_inet6.
  const addresses = asciiText(await host.readFile(`${folders.proc}/net/if_inet6`, 8192))
  const global = addresses.split('\n').some((line) => {
    const fields = line.trim().split(/\s+/)
    return fields[3] === '00' && fields[5] === name
  })
  return global ? 'ipv6' : undefined
}

async function dhcp(agent: Agent, name: string): Promise<Address | undefined> {
  const { host, folders, limits } = agent
  const scriptPath = `${folders.work}/udhcpc`
  const leasePath = `${folders.work}/lease`
  await host.writeFile(scriptPath, encodeUtf8(leaseScript(leasePath)), 0o700)
  await host.remove(leasePath)
  const attempts = ['-t', String(limits.dhcpAttempts), '-T', String(limits.dhcpAttemptSeconds)]
  const options = ['-f', '-n', '-q', ...attempts, '-O', 'tftp', '-O', 'bootfile', '-s', scriptPath]
  const { status } = await run(host, ['udhcpc', '-i', name, ...options])
  if (status !== 0) return undefined
  return parseLease(asciiText(await host.readFile(leasePath, 4096)))
}

async function setAddress(agent: Agent, name: string, address: Address): Promise<void> {
  await ip(agent, 'address', 'flush', 'dev', name, 'scope', 'global')
  await ip(agent, 'address', 'add', `${address.ip}/${address.prefix}`, 'dev', name)
  if (address.gateway !== undefined)
    await ip(agent, 'route', 'replace', 'default', 'via', address.gateway, 'dev', name)
  const servers = address.nameServers.map((server) => `nameserver ${server}\n`).join('')
  if (servers !== '') await agent.host.writeFile(agent.folders.resolvConf, encodeUtf8(servers), 0o644)
}

async function ip(agent: Agent, ...words: string[]): Promise<void> {
  const { status, stderr, stdout } = await run(agent.host, ['ip', ...words])
  if (status === 0) return
  const complaint = printable(`${stderr} ${asciiText(stdout)}`, 200) || `status ${status}`
  throw unavailable(`"ip ${words.join(' ')}" fails: ${complaint}.`)
}

function unavailable(sentence: string): MusterError {
  return new MusterError('network-unavailable', sentence)
}
