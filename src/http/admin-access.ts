/**
 * Who may use the admin plane: whoever can open the socket in the data folder (mode 0600), and whoever has the token.
 * A connection is known as the socket's by the listener it came through, never by an address or a header.
 */
import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { MusterError } from '../errors.ts'
import type { Access } from './admin-route.ts'
import type { AdminToken } from './admin-token.ts'

/** Connections that came through the socket. */
export type LocalSockets = WeakSet<Socket>

/** A hook for every request, also for URLs that do not exist: without a token nobody learns which do. */
export function createAccessCheck(options: {
  token: Pick<AdminToken, 'verify'>
  localSockets: LocalSockets
}) {
  const { token, localSockets } = options
  return async function checkAccess(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const access: Access = request.routeOptions.config?.access ?? 'token'
    if (access === 'public' || localSockets.has(request.raw.socket)) return
    if (access === 'loopback' && isFromHere(request)) return
    const presented = /^Bearer +(\S{1,256})$/i.exec(request.headers.authorization ?? '')?.[1]
    if (presented !== undefined && token.verify(presented)) return
    reply.header('www-authenticate', 'Bearer realm="muster"')
    throw new MusterError(
      'unauthorized',
      presented === undefined
        ? "The admin plane wants its token: 'Authorization: Bearer …' in a request, --token or MUSTER_TOKEN for the command line. On the server's own machine the socket in the data folder needs none."
        : "This is not the server's token. The first start printed it; 'muster token new' on the server's machine makes another.",
    )
  }
}

/**
 * A client on this machine that asks for this machine: a web page whose name was made to lead to 127.0.0.1 (DNS rebinding), and a
 * proxy beside us, come from here too, and say another name.
 */
function isFromHere({ raw, headers }: FastifyRequest): boolean {
  const name = /^(\[[^\]]*\]|[^:]*)(?::\d+)?$/.exec(headers.host ?? '')?.[1] ?? ''
  return isLoopback(raw.socket.remoteAddress) && isLoopbackHost(name)
}

/** Whether a host of the configuration is reached from this machine alone; anything else has to speak TLS. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || isLoopback(host.replace(/^\[|\]$/g, ''))
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (/^(::ffff:)?127(?:\.\d{1,3}){3}$/.test(address) || address === '::1')
}
