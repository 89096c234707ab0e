/** Settings of the DHCP server (docs/dhcp.md). */
import { z } from 'zod'
import { count, port, section, whole } from './kinds.ts'

/** RFC 1123 §2.1. */
const dnsLabel = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a name of a-z, 0-9 and -')

const dhcpPool = z.strictObject({
  range: z.string().optional(),
  gateway: z.ipv4().optional(),
  dns: z.array(z.ipv4()).max(8).default([]),
  ntp: z.array(z.ipv4()).max(8).default([]),
  domain: z
    .string()
    .regex(/^[A-Za-z0-9.-]{1,190}$/, 'a domain name')
    .optional(),
  leaseSeconds: whole(120, 31_536_000).default(7200),
})

export const dhcpSection = section({
  mode: z
    .enum(['off', 'proxy', 'server', 'auto'])
    .default('off')
    .describe(
      'proxy: says what to boot, beside the DHCP server that is there; server: gives addresses too; auto: server where nobody else gives addresses',
    ),
  addresses: z
    .array(z.ipv4())
    .default([])
    .describe("This machine's addresses on the segments to answer on; by default its only one"),
  port: port(67, 'UDP port of the DHCP server; firmware knows no other'),
  clientPort: port(68, 'UDP port of DHCP clients'),
  pxePort: port(4011, 'UDP port that PXE firmware asks for its boot file'),
  engine: z
    .enum(['auto', 'dgram', 'batched'])
    .default('auto')
    .describe(
      'How datagrams move: batched system calls (Linux on x64 and arm64), node:dgram, or what this machine can',
    ),
  pools: z
    .record(z.string(), dhcpPool)
    .default({})
    .describe(
      'Networks to give addresses in: {192.0.2.0/24: {range: first-last, gateway: address, dns: [addresses], ntp: [addresses], domain: name, leaseSeconds: 7200}}',
    ),
  reservations: z
    .record(z.string(), z.strictObject({ address: z.ipv4(), hostName: dnsLabel.optional() }))
    .default({})
    .describe(
      'Addresses that belong to one machine: {52:54:00:12:34:56: {address: 192.0.2.20, hostName: rack-7}}',
    ),
  relays: z
    .array(
      z
        .string()
        .regex(/^\d+(\.\d+){3}(\/\d+)?$/, 'an address or a network, as in 192.0.2.254 or 192.0.2.0/24'),
    )
    .default([])
    .describe(
      'Relay agents that are answered, addresses or networks of them; by default those inside the networks of dhcp.pools',
    ),
  binl: z
    .array(
      z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){2,5}$/, 'the beginning of a MAC address, as in 9c:b6:54'),
    )
    .default([])
    .describe('Beginnings of MAC addresses of UEFI firmware that takes its boot file at pxePort only'),
  conflictCheckMs: whole(0, 5000)
    .default(200)
    .describe(
      'How long a machine may take to say that it has an address already; 0: addresses are offered unseen',
    ),
  conflictChecksMax: count(
    64,
    512,
    "Addresses that are looked for at once; the kernel's neighbour table has room for 1024 in all",
  ),
  conflictChecksPerSecondMax: count(100, 100_000, 'The same in a second; above it a client has to ask again'),
  probeMs: count(3000, 10_000, 'Mode auto: how long other servers may take to answer'),
  recheckSeconds: count(60, 86_400, 'Mode auto: how often they are asked for'),
  packetBytesMax: whole(576, 65_507)
    .default(1500)
    .describe('Longest packet that is read; one in an Ethernet frame has 1472 bytes'),
  packetsPerSecondPerClientMax: count(5, 1_000_000, 'Packets from one hardware address in a second, lasting'),
  packetBurstPerClientMax: count(20, 1_000_000, 'The same at once'),
  packetsPerSecondMax: count(5000, 1_000_000, 'Packets in a second, in all'),
  rememberedClientsMax: count(8192, 1_000_000, 'Hardware addresses whose rate and firmware are remembered'),
  pendingMax: count(1024, 65_536, 'Answers under way at once'),
  firstLeaseSeconds: whole(60, 31_536_000)
    .default(300)
    .describe(
      'Longest first lease of a client that nobody knows; when it renews, or said hello, it gets leaseSeconds',
    ),
  offerHoldSeconds: count(60, 3600, 'How long an offered address is kept for who was offered it'),
  offerYieldSeconds: count(
    10,
    3600,
    'How old an offer has to be to give way to another client when no address is free',
  ),
  offersMax: count(4096, 1_000_000, 'Offers open at once in one pool; the oldest gives way'),
  quarantineSeconds: count(600, 604_800, 'How long an address that was found in use is not given'),
})
