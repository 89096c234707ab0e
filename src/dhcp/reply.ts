/**
 * The reply to a request: which options, in which form for which firmware. Pure: what is decided elsewhere (the address, the boot
 * file) comes in, and a packet or the reasons for silence go out. What each firmware gets wrong is docs/firmware.md.
 */
import { addressBytes, anyAddress, broadcastAddress } from './address.ts'
import { type DhcpClient, subOptions } from './client.ts'
import { messageTypeOf } from './intent.ts'
import { messageTypes, options } from './options.ts'
import { broadcastFlag, type DhcpPacket, latin1 } from './packet.ts'
import type { NetworkFacts } from './pool.ts'

/** What a client is to load, chosen by the caller. */
export type BootAnswer = {
  /** A name for TFTP, or a URL; empty: the firmware asks the next server for names of its own. */
  file: string
  /** Dotted address of the TFTP server. */
  nextServer: string
  /** pxelinux's configuration file (option 209) and what stands before each name (210), for who asks for them. */
  configFile?: string
  pathPrefix?: string
}

/** What a lease tells a client. */
export type LeaseAnswer = { address: string; hostName: string | undefined; says: NetworkFacts }

export type ReplyFacts = {
  request: DhcpPacket
  client: DhcpClient
  /** Our address on this segment: option 54. */
  server: string
  boot: BootAnswer | undefined
}

/** Discovery control 8 (PXE 2.1, table 2-1, PXE_DISCOVERY_CONTROL): load the named file, ask no boot server. */
const useFileName = [6, 1, 8]
/** A prompt that is over at once: EDK2 does without it, other UEFI firmware shows an empty menu (seen on AMI's). */
const noPrompt = [10, 4, 0, 0x50, 0x58, 0x45]
/** iPXE's no-pxedhcp: nobody else is going to say something, so it does not wait two seconds for that. */
const ipxeNoProxy = Uint8Array.of(0xb0, 1, 1)

const typeIs = {
  offer: Uint8Array.of(messageTypes.offer),
  ack: Uint8Array.of(messageTypes.ack),
  nak: Uint8Array.of(messageTypes.nak),
}

/**
 * A ProxyDHCP answer (PXE 2.1 §2.2): no address, only what to boot. OFFER for a DISCOVER, ACK for anything else.
 * @param binl leave option 43 out, so that the firmware asks port 4011: some UEFI firmware takes its file only there.
 */
export function proxyReply(facts: ReplyFacts & { boot: BootAnswer; binl: boolean }): DhcpPacket {
  const { binl, boot, client, request, server } = facts
  const isDiscover = messageTypeOf(request) === messageTypes.discover
  const found = new Map<number, Uint8Array>([
    [options.messageType, isDiscover ? typeIs.offer : typeIs.ack],
    [options.serverIdentifier, addressBytes(server)],
    // Without it EDK2 and iPXE take no offer for a proxy's.
    [options.vendorClass, latin1(client.kind === 'http' ? 'HTTPClient' : 'PXEClient')],
  ])
  const vendor = vendorSpecific(facts)
  if (vendor !== undefined && !(binl && isDiscover)) found.set(options.vendorSpecific, vendor)
  return finish(facts, found, { boot, yiaddr: anyAddress, ciaddr: request.ciaddr })
}

/** OFFER or ACK with an address, and with what to boot where the client is firmware. */
export function leaseReply(facts: ReplyFacts & { type: 'offer' | 'ack'; lease: LeaseAnswer }): DhcpPacket {
  const { boot, client, lease, request, server, type } = facts
  const found = new Map<number, Uint8Array>([
    [options.messageType, typeIs[type]],
    [options.serverIdentifier, addressBytes(server)],
    [options.leaseTime, lease.says.leaseTime],
    [options.renewalTime, lease.says.renewalTime],
    [options.rebindingTime, lease.says.rebindingTime],
  ])
  addNetwork(request, lease, found)
  if (boot !== undefined) {
    if (client.kind === 'http') found.set(options.vendorClass, latin1('HTTPClient'))
    // A ROM that is told `PXEClient` in a whole offer wants the rest of PXE too; only a Pi looks for its name in there.
    if (client.kind === 'raspberry-pi') {
      found.set(options.vendorClass, latin1('PXEClient'))
      found.set(options.vendorSpecific, raspberryPiVendor(client))
    }
    if (client.kind === 'ipxe') found.set(options.ipxe, ipxeNoProxy)
  }
  // RFC 6842 §3: a client identifier comes back as it was.
  copy(request, found, options.clientIdentifier)
  return finish(facts, found, { boot, yiaddr: lease.address, ciaddr: request.ciaddr })
}

/** ACK of an INFORM (RFC 2131 §4.3.5): settings without an address and without a lease. */
export function informReply(facts: ReplyFacts & { lease: LeaseAnswer }): DhcpPacket {
  const { boot, client, lease, request, server } = facts
  const found = new Map<number, Uint8Array>([
    [options.messageType, typeIs.ack],
    [options.serverIdentifier, addressBytes(server)],
  ])
  addNetwork(request, { ...lease, hostName: undefined }, found)
  if (boot !== undefined && client.kind === 'http') found.set(options.vendorClass, latin1('HTTPClient'))
  return finish(facts, found, { boot, yiaddr: anyAddress, ciaddr: request.ciaddr })
}

/** RFC 2131 §4.3.2: "no, and begin again". */
export function refusal(facts: Omit<ReplyFacts, 'boot'> & { because: string }): DhcpPacket {
  const { because, request, server } = facts
  const found = new Map<number, Uint8Array>([
    [options.messageType, typeIs.nak],
    [options.serverIdentifier, addressBytes(server)],
    [options.message, latin1(because.slice(0, 120))],
  ])
  const reply = finish({ ...facts, boot: undefined }, found, {
    boot: undefined,
    yiaddr: anyAddress,
    ciaddr: anyAddress,
  })
  // Through a relay it has to be broadcast too: the client has no address that it may use.
  return request.giaddr === anyAddress ? reply : { ...reply, flags: reply.flags | broadcastFlag }
}

function addNetwork(request: DhcpPacket, lease: LeaseAnswer, found: Map<number, Uint8Array>): void {
  const asked = request.options.get(options.parameterList)
  const isAsked = (code: number) => asked?.includes(code) === true
  const { broadcast, dns, domain, ntp, router, subnetMask } = lease.says
  found.set(options.subnetMask, subnetMask)
  if (router !== undefined) found.set(options.router, router)
  if (dns !== undefined) found.set(options.dns, dns)
  if (isAsked(options.broadcast)) found.set(options.broadcast, broadcast)
  if (domain !== undefined && isAsked(options.domainName)) found.set(options.domainName, domain)
  if (ntp !== undefined && isAsked(options.ntp)) found.set(options.ntp, ntp)
  if (lease.hostName !== undefined && isAsked(options.hostName))
    found.set(options.hostName, latin1(lease.hostName))
}

const fileFieldBytes = 127

/** What all replies have: the header, where to load from, and what has to come back as it was. */
function finish(
  { request, client }: ReplyFacts,
  found: Map<number, Uint8Array>,
  is: { boot: BootAnswer | undefined; yiaddr: string; ciaddr: string },
): DhcpPacket {
  const { boot } = is
  const list = request.options.get(options.parameterList)
  const asked = { has: (code: number) => list?.includes(code) === true }
  if (boot !== undefined) {
    const isPi = client.kind === 'raspberry-pi'
    // A Pi 4 takes the server from 66 and older ones from siaddr; 150 is asked for by some: all three say the same.
    if (isPi || asked.has(options.tftpServerName)) found.set(options.tftpServerName, latin1(boot.nextServer))
    if (isPi || asked.has(options.tftpServers)) found.set(options.tftpServers, addressBytes(boot.nextServer))
    // 67 wins over `file` in EDK2, iPXE and u-root; a URL may be too long for the field.
    const tooLong = boot.file.length > fileFieldBytes
    if (boot.file !== '' && (asked.has(options.bootFile) || client.kind === 'http' || tooLong))
      found.set(options.bootFile, latin1(boot.file))
    if (boot.configFile !== undefined && asked.has(options.configFile))
      found.set(options.configFile, latin1(boot.configFile))
    if (boot.pathPrefix !== undefined && asked.has(options.pathPrefix))
      found.set(options.pathPrefix, latin1(boot.pathPrefix))
    // RFC 4578 §2.3: the machine identifier comes back. It may be missing, and then there is nothing to send.
    copy(request, found, options.clientUuid)
  }
  // RFC 3046 §2.2: as it came, and after everything else.
  copy(request, found, options.relayAgent)
  const file = boot === undefined || boot.file.length > fileFieldBytes ? '' : boot.file
  return {
    op: 'reply',
    htype: request.htype,
    // The Pi 3's boot ROM is reported to drop replies that say 0.
    hops: client.kind === 'raspberry-pi' && client.model === 3 ? 1 : 0,
    xid: request.xid,
    secs: 0,
    flags: request.flags,
    ciaddr: is.ciaddr,
    yiaddr: is.yiaddr,
    siaddr: boot?.nextServer ?? anyAddress,
    giaddr: request.giaddr,
    chaddr: request.chaddr,
    sname: '',
    file,
    options: found,
  }
}

/** Option 43 of a proxy's answer: what the firmware needs to load the file at once. */
function vendorSpecific({ client, request }: ReplyFacts): Uint8Array | undefined {
  if (client.kind === 'http') return undefined
  if (client.kind === 'raspberry-pi') return raspberryPiVendor(client)
  // A firmware that chose an item of a menu wants it confirmed (PXE 2.1, PXE_BOOT_ITEM); some Supermicro boards ask for item 8000.
  const item = subOptions(request.options.get(options.vendorSpecific) ?? new Uint8Array()).get(71)
  const confirmed = item === undefined || item.length !== 4 ? [] : [71, 4, ...item]
  const prompt = client.platform === 'bios' ? [] : noPrompt
  return Uint8Array.from([...useFileName, ...prompt, ...confirmed, 255])
}

/**
 * A menu of one item with the name that the Pi looks for. The ROM of the Pi 3 compares the whole item, with three blanks at its
 * end; the EEPROM of 4 and 5 looks for the words in it.
 */
function raspberryPiVendor(client: DhcpClient): Uint8Array {
  const name = latin1(client.model === 3 ? 'Raspberry Pi Boot   ' : 'Raspberry Pi Boot')
  return Uint8Array.from([6, 1, 3, ...noPrompt, 9, name.length + 3, 0, 0, name.length, ...name, 255])
}

function copy(request: DhcpPacket, found: Map<number, Uint8Array>, code: number): void {
  const value = request.options.get(code)
  if (value !== undefined) found.set(code, value)
}

const leastMessageBytes = 576
/** EDK2 drops UDP payloads above 1472 bytes, and asks for 65 280 in its REQUESTs: 255 with its bytes swapped. */
const mostMessageBytes = 1500
/** IPv4 and UDP headers, which option 57 may or may not count (RFC 2132 §9.10 does not say). */
const transportBytes = 28

/** How long our reply may be for this client, in bytes of UDP payload. */
export function replyLimit(request: DhcpPacket): number {
  const value = request.options.get(options.maxMessageSize)
  const asked = value?.length === 2 ? (value[0]! << 8) | value[1]! : leastMessageBytes
  return Math.min(Math.max(asked, leastMessageBytes), mostMessageBytes) - transportBytes
}

export type Ports = { server: number; client: number; pxe: number }

/**
 * Where a reply goes (RFC 2131 §4.1). A client without an address gets a broadcast, whatever its flag: an address that it does
 * not have yet cannot be resolved, and a process without raw sockets cannot write into the ARP table.
 */
export function destinationOf(request: DhcpPacket, reply: DhcpPacket, ports: Ports) {
  if (request.giaddr !== anyAddress) return { address: request.giaddr, port: ports.server }
  const isRefusal = messageTypeOf(reply) === messageTypes.nak
  if (request.ciaddr !== anyAddress && !isRefusal) return { address: request.ciaddr, port: ports.client }
  return { address: broadcastAddress, port: ports.client }
}
