/** The server under test, a process of its own as in life: stored blobs through serveContent. Argument: the store's folder. */
import type { AddressInfo } from 'node:net'
import fastify from 'fastify'
import { serveContent } from '../../src/http/serve-content.ts'
import { silentLog } from '../../src/log.ts'
import { createBlobStore } from '../../src/store/blobs.ts'

const store = createBlobStore({ directory: process.argv[2] ?? '', log: silentLog })
const app = fastify({ routerOptions: { maxParamLength: 512 } })
app.get<{ Params: { hex: string } }>('/sha256/:hex', async (request, reply) => {
  const { hex } = request.params
  const blob = await store.open(`sha256:${hex}`)
  return serveContent(request, reply, { ...blob, etag: hex, contentType: 'application/octet-stream' })
})
await app.listen({ host: '127.0.0.1', port: 0 })
process.stdout.write(`${(app.server.address() as AddressInfo).port}\n`)
