/** Who is to get an address, and on which network: what a packet says of that, all of it attacker-controlled. */
import { anyAddress, readAddress } from './address.ts'
import { type DhcpClient, subOptions } from './client.ts'
import { addressIn } from './intent.ts'
import { options } from './options.ts'
import type { DhcpPacket } from './packet.ts'
import type { ReplyFacts } from './reply.ts'

/** What chooses the pool: a relay's word (RFC 3527, RFC 3011), the relay's address, else ours on that segment. */
export function segmentOf({ request, server }: Pick<ReplyFacts, 'request' | 'server'>): { address: string } {
  const relay = request.options.get(options.relayAgent)
  const link = relay === undefined || request.giaddr === anyAddress ? undefined : subOptions(relay).get(5)
  if (link?.length === 4) return { address: readAddress(link) }
  if (request.giaddr !== anyAddress)
    return { address: addressIn(request, options.subnetSelection) ?? request.giaddr }
  // Renewed straight over routers: the client's own network counts.
  return { address: request.ciaddr === anyAddress ? server : request.ciaddr }
}

/** By what a client's lease is kept: its MAC address, else `id:` and option 61; undefined where it has neither. */
export function clientKey({ mac }: DhcpClient, request: DhcpPacket): string | undefined {
  if (mac !== undefined && mac !== '00:00:00:00:00:00') return mac
  const identifier = request.options.get(options.clientIdentifier)
  if (identifier === undefined || identifier.length < 2 || identifier.length > 64) return undefined
  return `id:${Array.from(identifier, (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}
