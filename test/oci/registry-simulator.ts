/** A registry with verbs: it serves what is published, and misbehaves in exactly the way that a test asks for. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mediaTypes } from '../../src/oci/manifest.ts'

export type SeenRequest = {
  method: string
  path: string
  authorization: string | undefined
  range: string | undefined
}

export class RegistrySimulator implements AsyncDisposable {
  readonly #server: Server
  readonly #documents = new Map<string, { bytes: Buffer; mediaType: string; digestHeader?: string }>()
  readonly #blobs = new Map<string, Buffer>()
  readonly #lies = new Map<string, Buffer>()
  readonly #cuts = new Map<string, number>()
  readonly #endless = new Set<string>()
  readonly #drops: { digest: string; afterBytes: number; times: number }[] = []
  readonly host: string
  readonly seen: SeenRequest[] = []
  /** Bytes of blobs that were written to clients. */
  blobBytes = 0
  ignoreRange = false
  /** Blobs are redirected there, as registries do with object storage. */
  blobsAt: string | undefined
  #busy: { times: number; retryAfter: string; status: number } | undefined
  #login: { challenge: () => string; accepts: string } | undefined
  #token: { path: string; answer: (request: IncomingMessage, body: string) => [number, unknown] } | undefined

  private constructor(server: Server) {
    this.#server = server
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(): Promise<RegistrySimulator> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const simulator = new RegistrySimulator(server)
    server.on('request', (request, response) => simulator.#answer(request, response))
    return simulator
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  publishBlob(bytes: Buffer | string, mediaType = 'application/octet-stream', title?: string) {
    const buffer = Buffer.from(bytes)
    const digest = digestOf(buffer)
    this.#blobs.set(digest, buffer)
    return {
      mediaType,
      digest,
      size: buffer.length,
      ...(title === undefined ? {} : { annotations: { 'org.opencontainers.image.title': title } }),
    }
  }

  /** Under its digest and, if given, a tag. */
  publish(document: object | string, tag?: string, mediaType: string = mediaTypes.manifest) {
    const bytes = Buffer.from(typeof document === 'string' ? document : JSON.stringify(document))
    const digest = digestOf(bytes)
    for (const reference of [digest, ...(tag === undefined ? [] : [tag])]) {
      this.#documents.set(reference, { bytes, mediaType })
    }
    return { mediaType, digest, size: bytes.length }
  }

  publishImage(tag: string, files: Record<string, Buffer | string>, extra: object = {}) {
    const layers = Object.entries(files).map(([title, bytes]) => this.publishBlob(bytes, undefined, title))
    const config = this.publishBlob('{}', mediaTypes.empty)
    return this.publish({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers, ...extra }, tag)
  }

  /** Serves other bytes under the digest of a blob or manifest. */
  lie(digest: string, bytes: Buffer | string): void {
    this.#lies.set(digest, Buffer.from(bytes))
  }
  lieInHeader(tag: string, digest: string): void {
    this.#documents.get(tag)!.digestHeader = digest
  }
  /** Ends every reply for that blob early, cleanly, without a length. */
  truncate(digest: string, atByte: number): void {
    this.#cuts.set(digest, atByte)
  }
  endless(digest: string): void {
    this.#endless.add(digest)
  }
  /** Breaks the connection after so many bytes of a blob or manifest (by digest or tag), so many times. */
  drop(digest: string, afterBytes: number, times = 1): void {
    this.#drops.push({ digest, afterBytes, times })
  }
  busy(times: number, retryAfter: string, status = 429): void {
    this.#busy = { times, retryAfter, status }
  }
  requireLogin(challenge: () => string, accepts: string): void {
    this.#login = { challenge, accepts }
  }
  tokenService(path: string, answer: (request: IncomingMessage, body: string) => [number, unknown]): string {
    this.#token = { path, answer }
    return `http://${this.host}${path}`
  }

  #answer(request: IncomingMessage, response: ServerResponse): unknown {
    const path = request.url ?? '/'
    const { authorization, range } = request.headers
    this.seen.push({ method: request.method ?? '', path, authorization, range })
    if (this.#token !== undefined && path.startsWith(this.#token.path))
      return this.#answerToken(request, response)
    if (this.#busy !== undefined && this.#busy.times-- > 0) {
      const { status, retryAfter } = this.#busy
      response.writeHead(status, { 'retry-after': retryAfter }).end()
      return
    }
    if (this.#login !== undefined && authorization !== this.#login.accepts) {
      response.writeHead(401, { 'www-authenticate': this.#login.challenge() }).end('{"errors":[]}')
      return
    }
    const manifest = /^\/v2\/.+\/manifests\/([^/]+)$/.exec(path)?.[1]
    const blob = /^\/v2\/.+\/blobs\/([^/]+)$/.exec(path)?.[1]
    if (manifest !== undefined) return this.#answerManifest(manifest, response)
    if (blob !== undefined && this.blobsAt !== undefined) {
      response.writeHead(307, { location: `${this.blobsAt}${path}?signature=secret` }).end()
      return
    }
    if (blob !== undefined) return this.#answerBlob(blob.split('?')[0] as string, range, response)
    response.writeHead(404).end()
  }

  #answerToken(request: IncomingMessage, response: ServerResponse): void {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      const [status, json] = this.#token!.answer(request, body)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json))
    })
  }

  #answerManifest(reference: string, response: ServerResponse): unknown {
    const found = this.#documents.get(reference)
    if (found === undefined) {
      return response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
    }
    const bytes = this.#lies.get(reference) ?? found.bytes
    response.writeHead(200, {
      'content-type': found.mediaType,
      'docker-content-digest': found.digestHeader ?? digestOf(found.bytes),
      'content-length': String(bytes.length),
    })
    const drop = this.#drops.find((one) => one.digest === reference && one.times > 0)
    if (drop === undefined) return response.end(bytes)
    drop.times--
    return response.write(bytes.subarray(0, drop.afterBytes), () => response.destroy())
  }

  #answerBlob(digest: string, range: string | undefined, response: ServerResponse): unknown {
    const whole = this.#lies.get(digest) ?? this.#blobs.get(digest)
    if (whole === undefined) {
      response.writeHead(404).end('{"errors":[{"code":"BLOB_UNKNOWN"}]}')
      return
    }
    const start = range === undefined || this.ignoreRange ? 0 : Number(/^bytes=(\d+)-$/.exec(range)?.[1])
    const status = start > 0 ? 206 : 200
    const headers: Record<string, string> =
      start > 0 ? { 'content-range': `bytes ${start}-${whole.length - 1}/${whole.length}` } : {}
    const cut = this.#cuts.get(digest)
    if (this.#endless.has(digest)) {
      response.writeHead(status, headers)
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536))) this.blobBytes += 65_536
        if (!response.destroyed) response.once('drain', more)
      }
      return more()
    }
    const bytes = whole.subarray(start, cut)
    if (cut === undefined) headers['content-length'] = String(bytes.length)
    response.writeHead(status, headers)
    const drop = this.#drops.find((one) => one.digest === digest && one.times > 0)
    if (drop === undefined) {
      this.blobBytes += bytes.length
      response.end(bytes)
      return
    }
    drop.times--
    const part = bytes.subarray(0, drop.afterBytes)
    this.blobBytes += part.length
    response.write(part, () => setTimeout(() => response.destroy(), 20))
  }
}

export function digestOf(bytes: Buffer | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
