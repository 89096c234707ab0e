/**
 * Whether the ports of a first start can be had, before it makes keys, database and repository: one that cannot start leaves nothing
 * behind. All are taken at once, so that two planes of one port are found as well, and given back. DHCP's are not tried: whether
 * they can be shared depends on its engine.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv6 } from 'node:net'
import type { Config } from '../config/schema.ts'
import { cannotListen, isNotPermitted, OpenPorts, type Where } from './open-ports.ts'

/** @throws MusterError listen-failed, with the sentence of each port */
export async function tryPorts({ admin, agent, firmware, tftp }: Config): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const opening = new OpenPorts()
  for (const [plane, where] of Object.entries({ firmware, agent, admin }))
    await opening.try(() => takeTcp(stack, plane, where))
  if (tftp.enabled) await opening.try(() => takeTftp(stack, tftp))
  opening.check()
}

async function takeTcp(stack: AsyncDisposableStack, plane: string, where: Where): Promise<void> {
  const server = createServer((socket) => socket.destroy())
  try {
    await once(server.listen(where.port, where.host), 'listening')
  } catch (cause) {
    throw cannotListen(`The ${plane} plane`, `${plane}.port`, where, cause)
  }
  stack.defer(() => new Promise((resolve) => server.close(() => resolve())))
}

async function takeTftp(stack: AsyncDisposableStack, where: Where): Promise<void> {
  const socket = createSocket(isIPv6(where.host) ? 'udp6' : 'udp4')
  stack.defer(() => new Promise((resolve) => socket.close(resolve)))
  try {
    await once(socket.bind({ address: where.host, port: where.port, exclusive: true }), 'listening')
  } catch (cause) {
    // The server takes another one then.
    if (where.port === 69 && isNotPermitted(cause)) return
    throw cannotListen('TFTP', 'tftp.port', where, cause)
  }
}
