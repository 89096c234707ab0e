/**
 * URLs that leave the server. They are made from `advertise` or from the address the client reached, never from a Host
 * header, which the client writes.
 */

/**
 * Host part of a URL that this client can reach us at.
 * @param serverAddress local address of the client's connection.
 */
export function reachableHost(options: { advertise: string | undefined; serverAddress: string }): string {
  if (options.advertise !== undefined) return bracketed(options.advertise)
  const address = options.serverAddress.replace(/^::ffff:(?=\d+\.)/, '')
  // A client on loopback that wants to boot is a virtual machine behind QEMU's user network: it knows its host as 10.0.2.2.
  if (/^127\./.test(address) || address === '::1') return '10.0.2.2'
  return bracketed(address.replace(/%.*$/, ''))
}

/** IPv4 that a socket for both families shows (RFC 4291 §2.5.5.2) is IPv4. */
export function isIpv6(address: string): boolean {
  return address.includes(':') && !/^::ffff:\d+\./i.test(address)
}

/** RFC 4291 §2.5.6: good on one link, and to Linux only together with the name of an interface that nobody but the machine knows. */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(address)
}

/** RFC 3986 §3.2.2: an IPv6 address stands in brackets. */
export function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
