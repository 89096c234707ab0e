/**
 * DHCP options by name: the registry "BOOTP Vendor Extensions and DHCP Options" of IANA, as far as firmware uses it, and
 * the shapes of their values, for packets shown to people.
 */

export const options = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  dns: 6,
  hostName: 12,
  domainName: 15,
  broadcast: 28,
  ntp: 42,
  /** RFC 2132 §8.4; what is in it depends on option 60. */
  vendorSpecific: 43,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterList: 55,
  message: 56,
  maxMessageSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientIdentifier: 61,
  tftpServerName: 66,
  bootFile: 67,
  /** RFC 3004; iPXE sends the bare word instead of length and word. */
  userClass: 77,
  /** RFC 3046. */
  relayAgent: 82,
  /** RFC 4578 §2.1, §2.2, §2.3. */
  clientArchitecture: 93,
  clientInterface: 94,
  clientUuid: 97,
  /** RFC 3011. */
  subnetSelection: 118,
  /** RFC 5859. */
  tftpServers: 150,
  /** iPXE's own, with options inside. */
  ipxe: 175,
  /** RFC 5071. */
  configFile: 209,
  pathPrefix: 210,
  /** RFC 3942: 224 to 254 are for a site's own use. One Muster knows another by it (auto.ts). */
  muster: 224,
  end: 255,
} as const

export const messageTypes = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const

const messageNames = ['', 'DISCOVER', 'OFFER', 'REQUEST', 'DECLINE', 'ACK', 'NAK', 'RELEASE', 'INFORM']

export function messageName(type: number | undefined): string {
  return type === undefined ? 'plain BOOTP' : (messageNames[type] ?? `message type ${type}`)
}

type Shape = 'address' | 'text' | 'seconds' | 'u16' | 'u8' | 'codes' | 'message' | 'hex'

const described = new Map<number, readonly [name: string, shape: Shape]>([
  [1, ['subnet mask', 'address']],
  [3, ['router', 'address']],
  [6, ['name servers', 'address']],
  [12, ['host name', 'text']],
  [15, ['domain name', 'text']],
  [17, ['root path', 'text']],
  [28, ['broadcast address', 'address']],
  [42, ['time servers', 'address']],
  [43, ['vendor specific', 'hex']],
  [50, ['requested address', 'address']],
  [51, ['lease time', 'seconds']],
  [52, ['overload', 'u8']],
  [53, ['message type', 'message']],
  [54, ['server identifier', 'address']],
  [55, ['parameter request list', 'codes']],
  [56, ['message', 'text']],
  [57, ['maximum message size', 'u16']],
  [58, ['renewal time', 'seconds']],
  [59, ['rebinding time', 'seconds']],
  [60, ['vendor class', 'text']],
  [61, ['client identifier', 'hex']],
  [66, ['TFTP server name', 'text']],
  [67, ['boot file', 'text']],
  [77, ['user class', 'text']],
  [82, ['relay agent information', 'hex']],
  [93, ['client architecture', 'u16']],
  [94, ['client network interface', 'hex']],
  [97, ['client machine identifier', 'hex']],
  [118, ['subnet selection', 'address']],
  [150, ['TFTP servers', 'address']],
  [175, ['iPXE', 'hex']],
  [209, ['configuration file', 'text']],
  [210, ['path prefix', 'text']],
  [224, ['Muster', 'text']],
])

export function optionName(code: number): string {
  return described.get(code)?.[0] ?? 'unknown'
}

/** A value for people. The bytes are attacker-controlled: text is shown as printable ASCII only, and odd lengths as hex. */
export function optionText(code: number, value: Uint8Array): string {
  const shape = described.get(code)?.[1] ?? 'hex'
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  const words = (size: number, read: (offset: number) => number | string) =>
    value.length > 0 && value.length % size === 0
      ? Array.from({ length: value.length / size }, (_, index) => read(index * size)).join(', ')
      : hex(value)
  switch (shape) {
    case 'address':
      return words(4, (at) => `${value[at]}.${value[at + 1]}.${value[at + 2]}.${value[at + 3]}`)
    case 'seconds':
      return value.length === 4 ? `${view.getUint32(0)} s` : hex(value)
    case 'u16':
      return words(2, (at) => view.getUint16(at))
    case 'u8':
    case 'codes':
      return words(1, (at) => value[at] ?? 0)
    case 'message':
      return value.length === 1 ? messageName(value[0]) : hex(value)
    case 'text':
      return `"${printableText(value)}"`
    case 'hex':
      return hex(value)
  }
}

const isPrintable = /^[ -~]*$/

/** Printable ASCII; everything else is a `?`. */
export function printableText(bytes: Uint8Array): string {
  // At once, and not character by character: each packet of firmware has such a text.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  return isPrintable.test(text) ? text : text.replace(/[^ -~]/g, '?')
}

function hex(value: Uint8Array): string {
  return Array.from(value, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
}
