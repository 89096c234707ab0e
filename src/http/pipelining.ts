/**
 * One request at a time on a connection. HTTP/1.1 allows a client to send the next request before the reply to the last (RFC 9112
 * §9.3.2), and Node hands all of them over as they are parsed: a thousand in one write are a thousand open files, each with its
 * first piece read, for a client that reads nothing. No firmware, no agent and no registry's client does that.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

type Exchange = { request: IncomingMessage; response: ServerResponse }

/** Requests that may wait behind the one that is answered; more end the connection. */
const waitingMax = 16

/** To be called once the server has its handlers: they get a request when the reply before it is over. */
export function answerOneByOne(server: Server): void {
  const handlers = server.listeners('request') as ((
    request: IncomingMessage,
    response: ServerResponse,
  ) => void)[]
  server.removeAllListeners('request')
  const waiting = new WeakMap<Socket, Exchange[]>()

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    // What else stood in the same piece is still parsed after that.
    if (socket.destroyed) return
    const queue = waiting.get(socket)
    if (queue === undefined) {
      waiting.set(socket, [])
      answer({ request, response })
    } else if (queue.length < waitingMax) queue.push({ request, response })
    else socket.destroy()
  })

  function answer({ request, response }: Exchange): void {
    const { socket } = request
    response.once('close', () => {
      const next = waiting.get(socket)?.shift()
      if (next === undefined || socket.destroyed) waiting.delete(socket)
      else answer(next)
    })
    for (const handler of handlers) handler(request, response)
  }
}
