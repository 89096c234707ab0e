/** A Debian archive on loopback, signed by a key of its own: `publish`, `tamper`. OpenPGP as RFC 9580 has it, written down once more. */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Archive = AsyncDisposable & {
  url: string
  /** The key that signs, ASCII-armored. */
  key: string
  /** Puts an index of packages (paragraphs) up, dated and signed. `xz` is how the index is compressed. */
  publish(packages: string, options: { date: string; xz: (bytes: Buffer) => Buffer; codename?: string }): void
  /** Changes a file after it was signed. */
  tamper(path: string, change: (bytes: Buffer) => Buffer): void
}

export async function createArchive(): Promise<Archive> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const keyBody = publicKeyBody(publicKey)
  const files = new Map<string, Buffer>()
  const server = createServer((request, response) => {
    const bytes = files.get(request.url ?? '')
    if (bytes === undefined) response.writeHead(404).end()
    else response.end(bytes)
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key: armor('PUBLIC KEY BLOCK', packet(6, keyBody)),
    publish(packages, { date, xz, codename = 'trixie' }) {
      const index = xz(Buffer.from(packages))
      const path = 'main/binary-amd64/Packages.xz'
      const sha256 = createHash('sha256').update(index).digest('hex')
      const release = `Codename: ${codename}\nDate: ${date}\nSHA256:\n ${sha256} ${index.length} ${path}\n- a line with a dash  `
      files.set(`/dists/trixie/${path}`, index)
      files.set('/dists/trixie/InRelease', Buffer.from(clearSign(release, privateKey, keyBody)))
    },
    tamper(path, change) {
      files.set(path, change(files.get(path)!))
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

export function clearSign(text: string, privateKey: KeyObject, keyBody: Buffer): string {
  const canonical = text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\r\n')
  const fingerprint = createHash('sha1')
    .update(Buffer.concat([Buffer.from([0x99]), uint16(keyBody.length), keyBody]))
    .digest()
  const hashed = Buffer.concat([Buffer.from([22, 33, 4]), fingerprint])
  const head = Buffer.concat([Buffer.from([4, 1, 22, 8]), uint16(hashed.length), hashed])
  const trailer = Buffer.concat([Buffer.from([4, 0xff, 0, 0]), uint16(head.length)])
  const digest = createHash('sha256')
    .update(Buffer.concat([Buffer.from(canonical), head, trailer]))
    .digest()
  const signature = sign(null, digest, privateKey)
  const body = Buffer.concat([
    head,
    uint16(0),
    digest.subarray(0, 2),
    number(signature.subarray(0, 32)),
    number(signature.subarray(32)),
  ])
  const escaped = text.replace(/^-/gm, '- -')
  return `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n${escaped}\n${armor('SIGNATURE', packet(2, body))}`
}

export function publicKeyBody(publicKey: KeyObject): Buffer {
  const point = Buffer.from((publicKey.export({ format: 'jwk' }) as { x: string }).x, 'base64url')
  const curve = Buffer.from('092b06010401da470f01', 'hex')
  return Buffer.concat([
    Buffer.from([4, 0, 0, 0, 1, 22]),
    curve,
    number(Buffer.concat([Buffer.from([0x40]), point])),
  ])
}

export function armor(kind: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN PGP ${kind}-----\n\n${lines.join('\n')}\n-----END PGP ${kind}-----\n`
}

export function packet(tag: number, body: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length)
  return Buffer.concat([Buffer.from([0xc0 | tag, 255]), length, body])
}

/** Leading zeros are not written; the length counts bits. */
function number(bytes: Buffer): Buffer {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start++
  const rest = bytes.subarray(start)
  return Buffer.concat([uint16(rest.length * 8 - Math.clz32(rest[0]!) + 24), rest])
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
