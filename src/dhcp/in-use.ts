/**
 * Whether somebody has an address already (RFC 2131 §2.2 wants a look before an address is given again), without rights of any
 * kind: a datagram to a port where nobody listens.
 *
 *   - On our segment the kernel has to find the hardware address first: an entry that appears in its ARP table is an answer.
 *   - A machine that takes the datagram and has no such port says so (ICMP port unreachable), which a connected socket
 *     reports as ECONNREFUSED: this also works behind a router.
 *
 * An entry that stood in the table before tells nothing: Linux keeps those of machines that are gone.
 */
import { createSocket } from 'node:dgram'
import { readFile } from 'node:fs/promises'

/** Discard (RFC 863): no machine that is being looked for here is hurt by a datagram there. */
const discardPort = 9
const completeFlag = 0x2

/** @param client MAC address of who is to get it: that it still has the address itself is no conflict. */
export type InUse = (address: string, client: string) => Promise<boolean>

export function createInUse(options: { waitMs: number; arpTable?: string; port?: number }): InUse {
  const { arpTable = '/proc/net/arp', port = discardPort, waitMs } = options
  return async (address, client) => {
    const before = await hardwareAddressOf(address, arpTable)
    const answered = await answers({ address, port, waitMs })
    const after = await hardwareAddressOf(address, arpTable)
    if (after === client) return false
    return answered || (before === undefined && after !== undefined)
  }
}

function answers({
  address,
  port,
  waitMs,
}: {
  address: string
  port: number
  waitMs: number
}): Promise<boolean> {
  const socket = createSocket('udp4')
  return new Promise((resolve) => {
    const end = (found: boolean) => {
      clearTimeout(timer)
      socket.removeAllListeners()
      // Also where there is no way there, or the address is a broadcast: then nobody can have it.
      socket.on('error', () => {})
      socket.close()
      resolve(found)
    }
    const timer = setTimeout(() => end(false), waitMs)
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED'))
    socket.on('message', () => end(true))
    socket.on('connect', () => socket.send(Uint8Array.of(0)))
    socket.connect(port, address)
  })
}

/**
 * proc(5), /proc/net/arp: address, type, flags, hardware address, mask, device. Undefined while nobody has answered for it.
 */
async function hardwareAddressOf(address: string, path: string): Promise<string | undefined> {
  const table = await readFile(path, 'utf8').catch(() => '')
  for (const line of table.split('\n')) {
    const [ip, , flags, hardwareAddress] = line.split(/\s+/)
    if (ip === address && (Number(flags) & completeFlag) !== 0) return hardwareAddress
  }
  return undefined
}
