/**
 * Reads Debian packages (deb(5)): an ar archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
 *
 *     "!<arch>\n", then members, each at an even offset:
 *     offset size  member header (ASCII, padded with blanks)
 *          0   16  name        16  12  mtime      28  6+6  uid, gid
 *         40    8  mode (octal)    48  10  size (decimal)   58  2  "`\n"
 *
 * The bytes were checked against the lock before they come here; the bounds are there because a lock can be wrong too.
 */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { extract } from 'tar-stream'
import xz from 'xz-decompress'
import { MusterError } from '../errors.ts'

const arMagic = '!<arch>\n'
const arHeaderBytes = 60
const membersMax = 16
const unpackedBytesMax = 1 << 30

export type DebEntry =
  | { type: 'file'; path: string; mode: number; bytes: Buffer }
  | { type: 'symlink'; path: string; target: string }

/**
 * The files that `want` says yes to, and every symbolic link, by path (`usr/bin/qjs`; what stands in /bin, /sbin, /lib is given under
 * /usr, where it is on every Debian of today). Hard links come as files of their own.
 * @throws build-failed where it is no Debian package.
 */
export async function readDeb(
  fileName: string,
  want: (path: string) => boolean,
): Promise<Map<string, DebEntry>> {
  const member = await findDataMember(fileName)
  const entries = new Map<string, DebEntry>()
  const untar = extract()
  let unpackedBytes = 0
  untar.on('entry', (header, stream, next) => {
    const path = mergedUsr(header.name)
    // It is joined to a folder of ours, and to the root of an initramfs.
    if (path.split('/').includes('..')) return untar.destroy(notADeb(fileName, `it holds '${path}'`))
    const take = header.type === 'file' && want(path)
    const chunks: Buffer[] = []
    stream.on('data', (data) => {
      const chunk = data as Buffer
      unpackedBytes += chunk.length
      if (unpackedBytes > unpackedBytesMax) untar.destroy(notADeb(fileName, 'it unpacks to more than 1 GiB'))
      if (take) chunks.push(chunk)
    })
    stream.on('end', () => {
      if (take)
        entries.set(path, {
          type: 'file',
          path,
          mode: (header.mode ?? 0o644) & 0o777,
          bytes: Buffer.concat(chunks),
        })
      if (header.type === 'symlink')
        entries.set(path, { type: 'symlink', path, target: header.linkname ?? '' })
      const linked = header.type === 'link' ? entries.get(mergedUsr(header.linkname ?? '')) : undefined
      if (linked !== undefined) entries.set(path, { ...linked, path })
      next()
    })
  })
  try {
    await pipeline(dataStream(fileName, member), untar)
  } catch (cause) {
    if (cause instanceof MusterError) throw cause
    throw notADeb(fileName, `${member.name} does not unpack`, cause)
  }
  return entries
}

/** Decompresses a whole small file (`.ko.xz`). @throws build-failed at anything but xz. */
export async function decompressXz(bytes: Uint8Array, name: string): Promise<Buffer> {
  try {
    const source = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream() as ReadableStream<Uint8Array>
    return Buffer.from(
      await new Response(
        new xz.XzReadableStream(source) as ConstructorParameters<typeof Response>[0],
      ).arrayBuffer(),
    )
  } catch (cause) {
    throw new MusterError('build-failed', `${name} is not an xz file that can be unpacked.`, { cause })
  }
}

type Member = { name: string; start: number; bytes: number }

async function findDataMember(fileName: string): Promise<Member> {
  await using file = await open(fileName)
  const { size } = await file.stat()
  const magic = Buffer.alloc(arMagic.length)
  await file.read(magic, 0, magic.length, 0)
  if (magic.toString('latin1') !== arMagic)
    throw notADeb(fileName, `it starts with '${magic.toString('hex')}'`)
  let offset = arMagic.length
  for (let count = 0; count < membersMax && offset + arHeaderBytes <= size; count++) {
    const header = Buffer.alloc(arHeaderBytes)
    await file.read(header, 0, header.length, offset)
    const text = header.toString('latin1')
    const name = text.slice(0, 16).trimEnd().replace(/\/$/, '')
    const bytes = Number(text.slice(48, 58).trimEnd())
    const start = offset + arHeaderBytes
    if (text.slice(58) !== '`\n' || !Number.isSafeInteger(bytes) || start + bytes > size)
      throw notADeb(fileName, `the member at ${offset} has a broken header`)
    if (name.startsWith('data.tar')) return { name, start, bytes }
    offset = start + bytes + (bytes % 2)
  }
  throw notADeb(fileName, 'it has no data.tar')
}

function dataStream(fileName: string, { name, start, bytes }: Member): Readable {
  const raw = createReadStream(fileName, { start, end: start + bytes - 1, highWaterMark: 1 << 18 })
  switch (name) {
    case 'data.tar':
      return raw
    case 'data.tar.gz':
      return compose(raw, createGunzip())
    case 'data.tar.zst':
      return compose(raw, createZstdDecompress())
    case 'data.tar.xz': {
      const source = Readable.toWeb(raw) as unknown as ReadableStream<Uint8Array>
      return Readable.fromWeb(new xz.XzReadableStream(source) as never)
    }
    default:
      throw notADeb(fileName, `${name} is compressed in an unknown way (known: xz, zst, gz)`)
  }
}

function compose(raw: Readable, decompress: NodeJS.ReadWriteStream & Readable): Readable {
  raw.on('error', (error) => decompress.destroy(error))
  return raw.pipe(decompress)
}

function mergedUsr(name: string): string {
  const path = name.replace(/^\.?\//, '').replace(/\/$/, '')
  return /^(bin|sbin|lib|lib64)\//.test(path) ? `usr/${path}` : path
}

function notADeb(fileName: string, why: string, cause?: unknown): MusterError {
  return new MusterError(
    'build-failed',
    `${fileName} is not a Debian package that can be unpacked: ${why}.`,
    cause === undefined ? {} : { cause },
  )
}
