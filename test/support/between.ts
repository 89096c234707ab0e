/**
 * The attacker between server and machine: forwards both planes and lets a fault change what passes. It holds the server's
 * own TLS key and plan key, as somebody who took the server over would; so the agent has to be what refuses.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, request as tlsRequest } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import type { TlsIdentity } from '../../src/http/tls.ts'

export type Exchange = {
  plane: 'firmware' | 'agent'
  method: string
  /** Path and query. */
  path: string
  headers: IncomingMessage['headers']
  requestBody: Buffer
}

export type Answer = { status: number; headers: Record<string, string | string[] | undefined>; body: Buffer }

export type Meddler = {
  /** Answers in the server's place: return true when the response was taken over. */
  takeOver?(exchange: Exchange, response: ServerResponse): boolean | Promise<boolean>
  /** Changes a small answer of the server (scripts, JSON, metadata). */
  change?(exchange: Exchange, answer: Answer): Answer | Promise<Answer>
}

export type Between = AsyncDisposable & {
  firmwarePort: number
  agentPort: number
  /** Refuses connections until the function it gives is called: the server is away. */
  goAway(): () => void
}

/** Bodies above this are streamed through and never changed. */
const changeableBytes = 2_000_000

export async function standBetween(options: {
  /**
   * `host`: another address of loopback than 127.0.0.1, where the machine comes. Then the proxy takes the server's own port
   * numbers, and what the server signed (the address of the report) leads to the proxy too.
   */
  server: { host?: string; firmwarePort: number; agentPort: number }
  tls: TlsIdentity
  meddler: Meddler
}): Promise<Between> {
  const { server, tls, meddler } = options
  let away = false
  const sockets = new Set<{ destroy(): void }>()

  const firmware = createServer((incoming, response) => void handle('firmware', incoming, response))
  const agent = createTlsServer(
    { key: tls.key, cert: tls.certificate },
    (incoming, response) => void handle('agent', incoming, response),
  )
  for (const listener of [firmware, agent] as Server[]) {
    listener.on('connection', (socket) => {
      if (away) return socket.destroy()
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {})
    })
    const port = listener === (firmware as Server) ? server.firmwarePort : server.agentPort
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject)
      listener.listen(server.host === undefined ? 0 : port, '127.0.0.1', resolve)
    })
  }
  const firmwarePort = (firmware.address() as AddressInfo).port
  const agentPort = (agent.address() as AddressInfo).port

  async function handle(
    plane: Exchange['plane'],
    incoming: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    try {
      const requestBody = Buffer.concat(await incoming.toArray())
      const exchange = {
        plane,
        method: incoming.method ?? 'GET',
        path: incoming.url ?? '/',
        headers: incoming.headers,
        requestBody,
      }
      if (await meddler.takeOver?.(exchange, response)) return
      await forward(exchange, response)
    } catch {
      response.destroy()
    }
  }

  async function forward(exchange: Exchange, response: ServerResponse): Promise<void> {
    const upstream = await ask(exchange, server)
    const length = Number(upstream.headers['content-length'] ?? 0)
    if (length > changeableBytes) {
      response.writeHead(upstream.statusCode ?? 502, upstream.headers)
      upstream.pipe(response)
      upstream.on('error', () => response.destroy())
      return
    }
    let answer: Answer = {
      status: upstream.statusCode ?? 502,
      headers: upstream.headers,
      body: Buffer.concat(await upstream.toArray()),
    }
    answer = toUs(exchange, answer)
    if (meddler.change !== undefined) answer = await meddler.change(exchange, answer)
    response.writeHead(answer.status, {
      ...answer.headers,
      'content-length': answer.body.length,
      connection: 'close',
    })
    response.end(exchange.method === 'HEAD' ? undefined : answer.body)
  }

  /** The server tells the machine its own ports; the machine has to keep coming to us. */
  function toUs(exchange: Exchange, answer: Answer): Answer {
    const speaksOfPorts =
      exchange.path.startsWith('/boot/ipxe') || exchange.path.startsWith('/agent/v1/hello')
    if (!speaksOfPorts) return answer
    const text = answer.body
      .toString('utf8')
      .replaceAll(`:${server.agentPort}`, `:${agentPort}`)
      .replaceAll(`:${server.firmwarePort}`, `:${firmwarePort}`)
    return { ...answer, body: Buffer.from(text) }
  }

  return {
    firmwarePort,
    agentPort,
    goAway() {
      away = true
      for (const socket of sockets) socket.destroy()
      return () => {
        away = false
      }
    },
    async [Symbol.asyncDispose]() {
      for (const listener of [firmware, agent] as Server[]) {
        listener.close()
      }
      for (const socket of sockets) socket.destroy()
    },
  }
}

function ask(
  exchange: Exchange,
  server: { host?: string; firmwarePort: number; agentPort: number },
): Promise<IncomingMessage> {
  const { plane, method, path, requestBody } = exchange
  const headers = { ...exchange.headers, connection: 'close' }
  const to = {
    host: server.host ?? '127.0.0.1',
    port: plane === 'firmware' ? server.firmwarePort : server.agentPort,
    method,
    path,
    headers,
  }
  return new Promise((resolve, reject) => {
    // The attacker knows the server by its key already; nothing is checked here.
    const outgoing =
      plane === 'firmware' ? request(to, resolve) : tlsRequest({ ...to, rejectUnauthorized: false }, resolve)
    outgoing.on('error', reject)
    outgoing.end(requestBody)
  })
}
