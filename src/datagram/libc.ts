/**
 * The system calls that node:dgram has not, through koffi: many datagrams with one call, files as memory, waiting for
 * several sockets. Addresses are numbers: a process has 47 bits of them. Every call is as in its manual page, section 2.
 *
 * Numbers are those of Linux on x86-64 and arm64, which agree in all that stands here, with glibc and with musl.
 */
import { MusterError } from '../errors.ts'

export type Libc = {
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, address: number, length: number): number
  getsockname(fd: number, address: number, length: number): number
  setsockopt(fd: number, level: number, name: number, value: number, length: number): number
  recvmmsg(fd: number, messages: number, count: number, flags: number, timeout: number): number
  sendmmsg(fd: number, messages: number, count: number, flags: number): number
  ppoll(fds: number, count: number, timeout: number, mask: number): number
  eventfd(initial: number, flags: number): number
  mmap(at: number, length: number, protection: number, flags: number, fd: number, offset: number): number
  munmap(at: number, length: number): number
  madvise(at: number, length: number, advice: number): number
  close(fd: number): number
  /** The thread's, of the last call that failed. */
  errno(): number
  addressOf(memory: Uint8Array): number
}

export const errno = { again: 11, interrupted: 4, fault: 14, invalid: 22, io: 5, noOption: 92, tooLong: 90 }
export const sockets = {
  inet: 2,
  inet6: 10,
  /** SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK */
  datagram: 2 | 0o2000000 | 0o4000,
  level: { socket: 1, ip: 0, udp: 17, ip6: 41 },
  option: { reuseAddress: 2, sendBuffer: 7, receiveBuffer: 8, sendBufferForce: 32, receiveBufferForce: 33 },
  ipPacketInfo: 8,
  ip6ReceivePacketInfo: 49,
  ip6PacketInfo: 50,
  ip6Only: 26,
  /** UDP_SEGMENT: one call and one trip through the kernel for datagrams of one size (Linux 4.18). */
  udpSegment: 103,
}
export const pollIn = 1
export const pollOut = 4
/** EFD_CLOEXEC | EFD_NONBLOCK */
export const eventFlags = 0o2000000 | 0o4000

const declarations: Record<
  Exclude<keyof Libc, 'errno' | 'addressOf'>,
  [result: string, ...parameters: string[]]
> = {
  socket: ['int', 'int', 'int', 'int'],
  bind: ['int', 'int', 'uintptr_t', 'uint32_t'],
  getsockname: ['int', 'int', 'uintptr_t', 'uintptr_t'],
  setsockopt: ['int', 'int', 'int', 'int', 'uintptr_t', 'uint32_t'],
  recvmmsg: ['int', 'int', 'uintptr_t', 'uint32_t', 'int', 'uintptr_t'],
  sendmmsg: ['int', 'int', 'uintptr_t', 'uint32_t', 'int'],
  ppoll: ['int', 'uintptr_t', 'size_t', 'uintptr_t', 'uintptr_t'],
  eventfd: ['int', 'uint32_t', 'int'],
  mmap: ['intptr_t', 'uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t'],
  munmap: ['int', 'uintptr_t', 'size_t'],
  madvise: ['int', 'uintptr_t', 'size_t', 'int'],
  close: ['int', 'int'],
}

/** @throws engine-unavailable, saying what this machine lacks */
export async function loadLibc(): Promise<Libc> {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64'))
    throw unavailable(`it needs Linux on x64 or arm64, this is ${process.platform} on ${process.arch}`)
  try {
    // An optional dependency: npm leaves it out where it cannot be had.
    const { default: koffi } = await import('koffi')
    const library = koffi.load(null)
    const calls = Object.entries(declarations).map(([name, [result, ...parameters]]) => [
      name,
      library.func(name, result, parameters),
    ])
    return {
      ...(Object.fromEntries(calls) as Omit<Libc, 'errno' | 'addressOf'>),
      errno: () => koffi.errno(),
      addressOf: (memory) => Number(koffi.address(memory)),
    }
  } catch (cause) {
    throw unavailable(`koffi cannot be loaded (${(cause as Error).message.split('\n', 1)[0]})`, cause)
  }
}

export function unavailable(reason: string, cause?: unknown): MusterError {
  return new MusterError(
    'engine-unavailable',
    `Batched system calls cannot be used: ${reason}`,
    cause === undefined ? {} : { cause },
  )
}
