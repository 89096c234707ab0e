/**
 * Who may hold how many of a plane's connections. A cap on all of them alone would be a gift: one host that opens so many, and
 * reads nothing, leaves none for the machines.
 */
import type { Server } from 'node:net'
import { sourceOf } from '../machines/identifiers.ts'

/** Of all connections, what one source (an IPv4 address, an IPv6 /64) gets at most: a hall behind one router fits in. */
const shareOfOne = 1 / 4

/** Closes what is over `max` in all, or over its share for one source. */
export function shareConnections(server: Server, max: number): void {
  const perSource = Math.ceil(max * shareOfOne)
  const open = new Map<string, number>()
  server.maxConnections = max
  // Before TLS and HTTP see it: a connection that is too many costs nothing more.
  server.prependListener('connection', (socket) => {
    const source = sourceOf(socket.remoteAddress ?? '')
    const count = (open.get(source) ?? 0) + 1
    open.set(source, count)
    socket.once('close', () => {
      const left = (open.get(source) ?? 1) - 1
      if (left > 0) open.set(source, left)
      else open.delete(source)
    })
    if (count > perSource) socket.destroy()
  })
}
