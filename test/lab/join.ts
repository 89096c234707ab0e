/** One machine of a lab, from its firmware's first packet until it joined. */
import { bootWholly, type WholeBoot, type WholeBootOptions } from '../support/whole-boot.ts'
import { documentedDhcpLines } from './dhcp-lines.ts'
import { makeBridge, serverAddress, startDnsmasq } from './network.ts'

export const labMac = '52:54:00:77:00:01'

/** A server that machines of the bridge reach, on the ports that firmware knows. */
export const labSettings = {
  'firmware.host': '0.0.0.0',
  'agent.host': '0.0.0.0',
  'tftp.host': '0.0.0.0',
  'tftp.port': '69',
  'firmware.port': '8080',
  'agent.port': '8443',
  'tftp.enabled': 'true',
}

/** A server beside ours that is not there: its IPv6 address has to come through the boot loader's language as it is. */
export const ipv6Peer = {
  settings: {
    'agent.peers': JSON.stringify({ 'https://[2001:db8::2]:8443': { pin: `sha256//${'A'.repeat(43)}=` } }),
  },
  /** What the kernel says of its command line. */
  sign: ` muster.server=https://${serverAddress}:8443,https://[2001:db8::2]:8443 `,
} as const

/** Muster's own DHCP, and nobody else's. */
const ownDhcpSettings = {
  'dhcp.mode': 'server',
  'dhcp.addresses': serverAddress,
  'dhcp.pools': JSON.stringify({
    '10.77.0.0/24': { range: '10.77.0.150-10.77.0.199', gateway: serverAddress, leaseSeconds: 600 },
  }),
}

export type Join = Omit<WholeBootOptions, 'network' | 'print'> & {
  /** dnsmasq's boot lines, those of docs/dhcp.md by default; `own`: Muster's own DHCP in mode `server`. */
  dhcp?: string[] | 'own'
  /** What lies between the machine's tap and the server's bridge; a plain cable by default. */
  wire?(tap: string): void
  /** What the console must have said on the way, in this order: which road the machine took. */
  road: readonly (string | RegExp)[]
}

/** @throws Error when the machine does not join, or comes by another road */
export async function joins(options: Join): Promise<WholeBoot> {
  const result = await boots(options)
  if (result.outcome !== 'joined') throw new Error(`the machine did not join: ${result.cause}`)
  checkRoad(result.console, options.road)
  return result
}

/** However it ends. */
export async function boots(options: Omit<Join, 'road'>): Promise<WholeBoot> {
  const { dhcp = documentedDhcpLines(), wire, settings, ...rest } = options
  const [tap] = makeBridge(1)
  wire?.(tap as string)
  await using stack = new AsyncDisposableStack()
  if (dhcp !== 'own') stack.use(await startDnsmasq(dhcp))
  return await bootWholly({
    mac: labMac,
    timeoutMs: 400_000,
    // `LAB_CONSOLE=1 npm run lab -- SCENARIO` shows what a person at the machine would see.
    showConsole: process.env['LAB_CONSOLE'] === '1',
    ...rest,
    settings: { ...labSettings, ...(dhcp === 'own' ? ownDhcpSettings : {}), ...settings },
    network: { kind: 'tap', name: tap as string },
    print: console.log,
  })
}

/** @throws Error naming the first sign that is missing after those before it */
export function checkRoad(console: string, road: readonly (string | RegExp)[]): void {
  let rest = console
  for (const sign of road) {
    const at = typeof sign === 'string' ? rest.indexOf(sign) : rest.search(sign)
    if (at < 0)
      throw new Error(`the machine joined by another road: its console does not say ${sign} where it should`)
    rest = rest.slice(at + 1)
  }
}
