/**
 * The address of ours that a client is answered from. The kernel's routes know it: a UDP socket that is connected takes it, and
 * nothing is sent for that.
 */
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'

/** RFC 863; never sent to. */
const discardPort = 9

/** Loopback when no route leads to it. */
export function localAddressTo(address: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    const finish = (found: string) => {
      socket.close()
      resolve(found)
    }
    socket.once('error', () => finish('127.0.0.1'))
    socket.connect(discardPort, address, () => finish(socket.address().address))
  })
}
