/** Muster's own DHCP: alone, beside somebody else's, behind a relay, and when it finds out by itself. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bootWholly, type WholeBoot } from '../../support/whole-boot.ts'
import {
  addBridge,
  addNamespace,
  makeBridge,
  type Namespace,
  required,
  runIp,
  serverAddress,
} from '../network.ts'
import type { Scenarios } from '../scenario.ts'

const mac = '52:54:00:77:00:11'

const pool = (network: string, range: string, gateway: string) =>
  JSON.stringify({ [network]: { range, gateway, leaseSeconds: 600 } })

const ownPool = pool('10.77.0.0/24', '10.77.0.150-10.77.0.199', serverAddress)

export const dhcpScenarios: Scenarios = {
  'dhcp-server': {
    about: 'Muster gives addresses and the boot file: SeaBIOS, iPXE ROM, nobody else on the segment',
    async run() {
      const [tap] = makeBridge(1)
      const result = await boot(tap as string, { 'dhcp.mode': 'server', 'dhcp.pools': ownPool })
      expectAddress(result, '10.77.0.1[5-9]')
      expectBeginning(result, /got OFFER with 10\.77\.0\.1\d\d, http:\/\//)
      return result
    },
  },
  'proxy-beside-dnsmasq': {
    about: 'dnsmasq on another machine gives addresses only, Muster says what to boot as ProxyDHCP',
    async run() {
      const [tap] = makeBridge(1)
      await using stack = new AsyncDisposableStack()
      const other = stack.use(addNamespace('dns', [{ bridge: 'br0', address: '10.77.0.2/24' }]))
      stack.use(await startIn(other, addressesOnly))
      const result = await boot(tap as string, { 'dhcp.mode': 'proxy' })
      expectAddress(result, '10.77.0.[5-9]')
      expectBeginning(result, /got OFFER with http:\/\//)
      return result
    },
  },
  relay: {
    about: "the machine's segment has a relay agent and a router; the server is one network away",
    async run() {
      const [tap] = makeBridge(1)
      addBridge('br1', [tap as string])
      await using stack = new AsyncDisposableStack()
      const router = stack.use(
        addNamespace('relay', [
          { bridge: 'br0', address: '10.77.0.2/24' },
          { bridge: 'br1', address: '10.78.0.1/24' },
        ]),
      )
      execFileSync(required('ip'), [
        ...['netns', 'exec', router.name, 'sh', '-c'],
        'echo 1 > /proc/sys/net/ipv4/ip_forward',
      ])
      runIp('route add 10.78.0.0/24 via 10.77.0.2')
      stack.use(await startIn(router, [`--dhcp-relay=10.78.0.1,${serverAddress}`]))
      const result = await boot(tap as string, {
        'dhcp.mode': 'server',
        'dhcp.pools': pool('10.78.0.0/24', '10.78.0.50-10.78.0.60', '10.78.0.1'),
      })
      expectAddress(result, '10.78.0.[56]')
      return result
    },
  },
  'dhcp-auto': {
    about: 'mode auto gives addresses while it is alone, and is a proxy once dnsmasq is there',
    async run() {
      const [tap] = makeBridge(1)
      const settings = { 'dhcp.mode': 'auto', 'dhcp.pools': ownPool, 'dhcp.probeMs': '1000' }
      const alone = await boot(tap as string, settings)
      expectAddress(alone, '10.77.0.1[5-9]')
      await using stack = new AsyncDisposableStack()
      const other = stack.use(addNamespace('dns', [{ bridge: 'br0', address: '10.77.0.2/24' }]))
      stack.use(await startIn(other, addressesOnly))
      const beside = await boot(tap as string, settings)
      expectAddress(beside, '10.77.0.[5-9]')
      expectBeginning(beside, /got OFFER with http:\/\//)
      return beside
    },
  },
}

/** dnsmasq as a home router has it: addresses, and no word about booting. Without ping, which takes it three seconds. */
const addressesOnly = ['--dhcp-range=10.77.0.50,10.77.0.99,1h', '--no-ping']

async function boot(tap: string, settings: Readonly<Record<string, string>>): Promise<WholeBoot> {
  const result = await bootWholly({
    settings: {
      'firmware.host': '0.0.0.0',
      'firmware.port': '8080',
      'agent.host': '0.0.0.0',
      'tftp.enabled': 'true',
      'tftp.host': '0.0.0.0',
      'tftp.port': '69',
      'dhcp.addresses': serverAddress,
      ...settings,
    },
    network: { kind: 'tap', name: tap },
    mac,
    print: console.log,
  })
  if (result.outcome !== 'joined') throw new Error(`the machine did not join: ${result.cause}`)
  return result
}

/** The agent's own DHCP came from who was meant to answer it. */
function expectAddress({ events }: WholeBoot, pattern: string): void {
  const hello = events.find(({ kind }) => kind === 'hello')
  if (new RegExp(`from ${pattern.replaceAll('.', '\\.')}`).test(hello?.message ?? '')) return
  throw new Error(`the machine's address is not one of ${pattern}: ${hello?.message}`)
}

function expectBeginning({ events }: WholeBoot, pattern: RegExp): void {
  const [first] = events.filter(({ bootId }) => bootId !== undefined)
  if (first?.kind === 'firmware' && pattern.test(first.message)) return
  throw new Error(`the boot's timeline does not begin with its DHCP packet: ${first?.kind} ${first?.message}`)
}

async function startIn({ name }: Namespace, settings: readonly string[]): Promise<AsyncDisposable> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-dnsmasq-'))
  const common = ['--no-daemon', '--conf-file=/dev/null', '--user=root', '--port=0', '--pid-file=']
  const leases = `--dhcp-leasefile=${join(folder, 'leases')}`
  const child: ChildProcess = spawn(
    required('ip'),
    ['netns', 'exec', name, required('dnsmasq'), ...common, leases, ...settings],
    { stdio: ['ignore', 'inherit', 'pipe'] },
  )
  const exited = once(child, 'exit')
  await Promise.race([sleep(500), exited.then(() => Promise.reject(new Error('dnsmasq ended at once')))])
  return {
    async [Symbol.asyncDispose]() {
      child.kill()
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
