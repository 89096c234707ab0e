/**
 * Who may hold how many of a plane's connections. A cap on all of them alone would be a gift: one host that opens so many, and
 * reads nothing, leaves none for the machines.
 */
import type { Server } from 'node:net'
import { sourceOf } from '../machines/identifiers.ts'

/** Of all connections, what one address gets at most: a hall behind one router fits in. */
const shareOfHost = 1 / 4
/** And a whole IPv6 /64, of which one host may have any number of addresses: what is outside of it keeps the rest. */
const shareOfNetwork = 3 / 4

/** Closes what is over `max` in all, or over its share for one address or network. */
export function shareConnections(server: Server, max: number): void {
  const open = new Map<string, number>()
  server.maxConnections = max
  // Before TLS and HTTP see it: a connection that is too many costs nothing more.
  server.prependListener('connection', (socket) => {
    const { host, network } = sourceOf(socket.remoteAddress ?? '')
    const shares: [string, number][] = [[host, shareOfHost]]
    if (network !== undefined) shares.push([network, shareOfNetwork])
    // One that is refused takes nothing of its network's share.
    if (shares.some(([source, share]) => (open.get(source) ?? 0) >= Math.ceil(max * share))) {
      socket.destroy()
      return
    }
    for (const [source] of shares) open.set(source, (open.get(source) ?? 0) + 1)
    socket.once('close', () => {
      for (const [source] of shares) {
        const left = (open.get(source) ?? 1) - 1
        if (left > 0) open.set(source, left)
        else open.delete(source)
      }
    })
  })
}
