/** One UDP socket of the batched engine: bound, with room for what comes while the thread is busy. */
import { isIPv6 } from 'node:net'
import { getSystemErrorMessage, getSystemErrorName } from 'node:util'
import type { Peer } from '../../engine.ts'
import { listenFailed } from '../listen-failed.ts'
import { type Libc, sockets } from './libc.ts'
import { NativeMemory } from './native-memory.ts'
import { Outbox } from './outbox.ts'
import { encodeAddress, SocketPeer } from './socket-address.ts'

/** All transfers share a few sockets, so each takes what many clients send at once. The kernel may give less. */
const bufferBytes = 4 << 20

export class BatchSocket {
  readonly fd: number
  readonly local: Peer
  readonly outbox: Outbox
  /** Whether it has more addresses than one, so that answers must say from which they go. */
  readonly isWildcard: boolean
  readonly #libc: Libc
  #closed = false

  /** @throws listen-failed */
  constructor(libc: Libc, where: { host: string; port: number }, headers: NativeMemory) {
    this.#libc = libc
    this.isWildcard = where.host === '0.0.0.0' || /^[0:]+$/.test(where.host)
    this.fd = open(libc, where, this.isWildcard)
    this.local = localOf(libc, this.fd)
    this.outbox = new Outbox(libc, this.fd, headers)
  }

  close(): void {
    if (this.#closed) return
    this.outbox.flush()
    this.#closed = true
    this.#libc.close(this.fd)
  }
}

function open(libc: Libc, where: { host: string; port: number }, isWildcard: boolean): number {
  const isV6 = isIPv6(where.host)
  const fail = (): Error => {
    const code = libc.errno()
    const error = new Error(getSystemErrorMessage(-code))
    return listenFailed(where, Object.assign(error, { code: getSystemErrorName(-code) }))
  }
  const fd = libc.socket(isV6 ? sockets.inet6 : sockets.inet, sockets.datagram, 0)
  if (fd < 0) throw fail()
  const memory = new NativeMemory(libc, 40)
  const set = (level: number, name: number, value: number): boolean => {
    memory.u32[8] = value
    return libc.setsockopt(fd, level, name, memory.address + 32, 4) === 0
  }
  const { level, option } = sockets
  // With the right to (root) beyond what net.core.*mem_max allows; without, as much as that.
  for (const [force, plain] of [
    [option.receiveBufferForce, option.receiveBuffer],
    [option.sendBufferForce, option.sendBuffer],
  ] as const)
    if (!set(level.socket, force, bufferBytes)) set(level.socket, plain, bufferBytes)
  if (isV6) set(level.ip6, sockets.ip6Only, isWildcard ? 0 : 1)
  if (isWildcard)
    set(isV6 ? level.ip6 : level.ip, isV6 ? sockets.ip6ReceivePacketInfo : sockets.ipPacketInfo, 1)
  const address = encodeAddress(where.host, where.port)
  memory.bytes.set(address)
  if (libc.bind(fd, memory.address, address.byteLength) === 0) return fd
  const error = fail()
  libc.close(fd)
  throw error
}

function localOf(libc: Libc, fd: number): Peer {
  const memory = new NativeMemory(libc, 40)
  memory.u32[8] = 28
  libc.getsockname(fd, memory.address, memory.address + 32)
  const { address, port, family } = new SocketPeer(memory.bytes.slice(0, memory.u32[8]), new Uint8Array(0))
  return { address, port, family }
}
