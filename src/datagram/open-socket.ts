/** A bound UDP socket of its own, for calls that node:dgram has not. */
import { isIPv6 } from 'node:net'
import { getSystemErrorMessage, getSystemErrorName } from 'node:util'
import { type Libc, sockets } from './libc.ts'
import { NativeMemory } from './native-memory.ts'
import { encodeAddress, SocketPeer } from './socket-address.ts'

/** Room for what comes while the process is busy, and for what it sends at once. The kernel may give less. */
const bufferBytes = 4 << 20

/** @returns its descriptor. @throws an error of the system, with its `code` as in `EADDRINUSE` */
export function openSocket(libc: Libc, where: { host: string; port: number }): number {
  const isV6 = isIPv6(where.host)
  // It has more addresses than one, so what is asked has to say at which, and an answer from which it goes.
  const isAny = where.host === '0.0.0.0' || /^[0:]+$/.test(where.host)
  const fd = libc.socket(isV6 ? sockets.inet6 : sockets.inet, sockets.datagram, 0)
  if (fd < 0) throw systemError(libc)
  const { level, option } = sockets
  // With the right to (root) beyond what net.core.*mem_max allows; without, as much as that.
  for (const [force, plain] of [
    [option.receiveBufferForce, option.receiveBuffer],
    [option.sendBufferForce, option.sendBuffer],
  ] as const)
    if (!setOption(libc, fd, { level: level.socket, option: force, value: bufferBytes }))
      setOption(libc, fd, { level: level.socket, option: plain, value: bufferBytes })
  if (isV6) setOption(libc, fd, { level: level.ip6, option: sockets.ip6Only, value: isAny ? 0 : 1 })
  if (isAny && isV6) setOption(libc, fd, { level: level.ip6, option: sockets.ip6ReceivePacketInfo, value: 1 })
  else if (isAny) setOption(libc, fd, { level: level.ip, option: sockets.ipPacketInfo, value: 1 })
  const address = encodeAddress(where.host, where.port)
  const memory = new NativeMemory(libc, address.byteLength)
  memory.bytes.set(address)
  if (libc.bind(fd, memory.address, address.byteLength) === 0) return fd
  const error = systemError(libc)
  libc.close(fd)
  throw error
}

/** Whether the kernel took it. */
export function setOption(
  libc: Libc,
  fd: number,
  { level, option, value }: { level: number; option: number; value: number },
): boolean {
  const memory = new NativeMemory(libc, 4)
  memory.u32[0] = value
  return libc.setsockopt(fd, level, option, memory.address, 4) === 0
}

/** What it is bound to, with the port that was chosen. */
export function localOf(libc: Libc, fd: number): SocketPeer {
  const memory = new NativeMemory(libc, 40)
  memory.u32[8] = 28
  libc.getsockname(fd, memory.address, memory.address + 32)
  return new SocketPeer(memory.bytes.slice(0, memory.u32[8]), new Uint8Array(0))
}

/** Of the call that just failed. */
function systemError(libc: Libc): NodeJS.ErrnoException {
  const code = libc.errno()
  return Object.assign(new Error(getSystemErrorMessage(-code)), { code: getSystemErrorName(-code) })
}
