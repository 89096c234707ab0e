/**
 * What a client wants: the states of RFC 2131 §4.3.2, table 4, told apart by options 50 and 54, ciaddr and how the packet came.
 *
 *                    54 server id   50 address   ciaddr
 *     SELECTING      yes            yes          0
 *     INIT-REBOOT    no             yes          0
 *     RENEWING       no             no           yes      unicast
 *     REBINDING      no             no           yes      broadcast
 */
import { anyAddress, readAddress } from './address.ts'
import { messageName, messageTypes, options } from './options.ts'
import type { DhcpPacket } from './packet.ts'

export type Intent =
  /** `wanted`: an address that it had once. */
  | { kind: 'discover'; wanted: string | undefined }
  | { kind: 'select'; address: string; server: string }
  | { kind: 'reboot'; address: string }
  | { kind: 'renew' | 'rebind'; address: string }
  | { kind: 'decline'; address: string }
  | { kind: 'release'; address: string }
  | { kind: 'inform' }
  /** Not a request at all, or one that makes no sense. */
  | { kind: 'none'; because: string }

export function messageTypeOf(packet: DhcpPacket): number | undefined {
  return packet.options.get(options.messageType)?.[0]
}

export function intentOf(packet: DhcpPacket, cameBy: 'broadcast' | 'unicast'): Intent {
  if (packet.op !== 'request') return { kind: 'none', because: 'it is a reply: another server sent it' }
  const type = messageTypeOf(packet)
  switch (type) {
    case messageTypes.discover:
      return { kind: 'discover', wanted: addressIn(packet, options.requestedAddress) }
    case messageTypes.request:
      return requestIntent(packet, cameBy)
    case messageTypes.decline: {
      const address = addressIn(packet, options.requestedAddress)
      return address === undefined
        ? { kind: 'none', because: 'a DECLINE that names no address' }
        : { kind: 'decline', address }
    }
    case messageTypes.release:
      return { kind: 'release', address: packet.ciaddr }
    case messageTypes.inform:
      return { kind: 'inform' }
    case undefined:
      return {
        kind: 'none',
        because:
          packet.options.size === 0
            ? 'it is plain BOOTP without options (old versions of GRUB ask so): only DHCP is answered'
            : 'it has no message type (option 53): only DHCP is answered, not plain BOOTP',
      }
    default:
      return { kind: 'none', because: `${messageName(type)} is nothing that a client sends` }
  }
}

function requestIntent(packet: DhcpPacket, cameBy: 'broadcast' | 'unicast'): Intent {
  const server = addressIn(packet, options.serverIdentifier)
  const requested = addressIn(packet, options.requestedAddress)
  const { ciaddr } = packet
  if (server !== undefined) {
    // Some clients put the offered address into ciaddr instead.
    const address = requested ?? ciaddr
    if (address === anyAddress) return { kind: 'none', because: 'a REQUEST that names no address' }
    return { kind: 'select', address, server }
  }
  if (requested !== undefined && ciaddr === anyAddress) return { kind: 'reboot', address: requested }
  if (ciaddr === anyAddress) return { kind: 'none', because: 'a REQUEST that names no address' }
  return { kind: cameBy === 'unicast' ? 'renew' : 'rebind', address: ciaddr }
}

/** The first address of an option; undefined where it is missing, too short or 0.0.0.0. */
export function addressIn(packet: DhcpPacket, code: number): string | undefined {
  const value = packet.options.get(code)
  if (value === undefined || value.length < 4) return undefined
  const address = readAddress(value)
  return address === anyAddress ? undefined : address
}
