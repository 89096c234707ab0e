/** A server as a publisher sees it, over its admin plane: where releases/publish-there.ts sends bytes and reads metadata. */
import { Readable } from 'node:stream'
import { MusterError } from '../errors.ts'
import type { PublishingServer } from '../releases/publish-there.ts'
import { type ApiClient, apiPath } from './api-client.ts'

export function createRemoteServer(api: ApiClient, repository: string): PublishingServer {
  const blobPath = (digest: string) => apiPath('blobs', 'sha256', digest.replace(/^sha256:/, ''))
  /** Bytes that are there, and whether that is all of it. */
  async function look(digest: string): Promise<{ bytes: number; whole: boolean }> {
    const reply = await api.open({ method: 'HEAD', path: blobPath(digest) })
    reply.resume()
    const whole = reply.statusCode === 200
    const { 'content-length': length, 'upload-offset': offset } = reply.headers
    return { bytes: Number((whole ? length : offset) ?? 0), whole }
  }
  return {
    async metadata(name) {
      try {
        return await readAll(
          await api.open({ method: 'GET', path: apiPath('repositories', repository, 'metadata', name) }),
        )
      } catch (error) {
        if (error instanceof MusterError && error.code === 'file-not-found') return undefined
        throw error
      }
    },
    async readBlob(digest, maxBytes) {
      const bytes = await readAll(await api.open({ method: 'GET', path: blobPath(digest) }))
      if (bytes.length <= maxBytes) return bytes
      throw new MusterError('blob-too-long', `${digest} must end after ${maxBytes} bytes, but more came.`)
    },
    sink: {
      async size(digest) {
        const { bytes, whole } = await look(digest)
        return whole ? bytes : undefined
      },
      async partialSize(digest) {
        const { bytes, whole } = await look(digest)
        return whole ? 0 : bytes
      },
      async write({ digest, size }, source, { offset = 0 } = {}) {
        const range = offset === 0 ? {} : { 'content-range': `bytes ${offset}-${size - 1}/${size}` }
        await api.call({
          method: 'PUT',
          path: blobPath(digest),
          headers: { 'content-length': size - offset, ...range },
          body: Readable.from(source, { objectMode: false }),
        })
      },
      // Bytes that turned out wrong are forgotten by the server itself.
      async remove() {},
    },
    acceptTargets: (bytes) =>
      api.call({ method: 'POST', path: apiPath('repositories', repository, 'targets'), body: bytes }),
  }
}

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return Buffer.concat(await Array.fromAsync(body))
}
