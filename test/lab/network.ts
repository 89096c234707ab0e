/** The network of a lab: one bridge with the server's address, a tap for each machine, and somebody else's DHCP server. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tool } from '../support/tools.ts'

export const serverAddress = '10.77.0.1'

/** Must run inside a namespace of its own: it gives addresses to interfaces. */
export function makeBridge(taps: number): string[] {
  const names = Array.from({ length: taps }, (_, index) => `tap${index}`)
  const commands = [
    'link set lo up',
    'link add br0 type bridge',
    `address add ${serverAddress}/24 dev br0`,
    ...names.flatMap((name) => [
      `tuntap add ${name} mode tap`,
      `link set ${name} master br0`,
      `link set ${name} up`,
    ]),
    'link set br0 up',
  ]
  for (const command of commands) runIp(command)
  return names
}

/** Another segment, of interfaces that are there; one that is on a bridge already leaves it. */
export function addBridge(name: string, members: readonly string[]): void {
  runIp(`link add ${name} type bridge`)
  for (const member of members) runIp(`link set ${member} master ${name}`)
  runIp(`link set ${name} up`)
}

export type Namespace = { name: string } & Disposable

/** Another machine on our bridges: a network namespace with an interface on each. */
export function addNamespace(what: string, links: readonly { bridge: string; address: string }[]): Namespace {
  const name = `muster-${process.pid}-${what}`
  runIp(`netns add ${name}`)
  for (const [index, { bridge, address }] of links.entries()) {
    const [inside, outside] = [`eth${index}`, `v${what}${index}`]
    for (const command of [
      `link add ${outside} type veth peer name ${inside} netns ${name}`,
      `link set ${outside} master ${bridge}`,
      `link set ${outside} up`,
      `-n ${name} address add ${address} dev ${inside}`,
      `-n ${name} link set ${inside} up`,
      `-n ${name} link set lo up`,
    ])
      runIp(command)
  }
  return { name, [Symbol.dispose]: () => runIp(`netns delete ${name}`) }
}

/** @throws Error with what ip says */
export function runIp(words: string): void {
  execFileSync(required('ip'), words.split(' '))
}

/** dnsmasq with addresses only, and the boot lines that `npm start` prints. */
export async function startDnsmasq(bootLines: string[]): Promise<AsyncDisposable> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-dnsmasq-'))
  const settings = [
    '--no-daemon',
    '--conf-file=/dev/null',
    '--user=root',
    '--port=0',
    '--interface=br0',
    '--bind-interfaces',
    '--dhcp-range=10.77.0.50,10.77.0.99,1h',
    // It pings an address before it offers it, one after the other, for three seconds each: ten machines at once give up.
    '--no-ping',
    `--dhcp-leasefile=${join(folder, 'leases')}`,
    ...bootLines.map((line) => `--${line}`),
  ]
  const child: ChildProcess = spawn(required('dnsmasq'), settings, { stdio: ['ignore', 'inherit', 'pipe'] })
  const exited = once(child, 'exit')
  return {
    async [Symbol.asyncDispose]() {
      child.kill()
      await exited
    },
  }
}

export function required(name: string): string {
  const path = tool(name)
  if (path === undefined) throw new Error(`${name} is missing: apt-get install ${packageOf[name] ?? name}`)
  return path
}

const packageOf: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  dnsmasq: 'dnsmasq-base',
  nft: 'nftables',
}
