/**
 * The admin plane's token. It is shown once, when it is made; what is kept is its sha256, so a copied data folder gives
 * nobody the right to use it. 256 random bits need no salt and no slow hash: there is nothing to guess from.
 *
 *     data/keys/admin-token      sha256:<64 hex>            mode 0600
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import { writeFileDurably } from '../store/durable-files.ts'
import { systemReason } from '../system-error.ts'

export type AdminToken = {
  /** The token itself, only when this call made it: print it once. */
  issued?: string
  /** Constant in time for tokens of any content. */
  verify(presented: string): boolean
  /** Makes a new token and forgets the old one. @throws MusterError data-unwritable */
  replace(): Promise<string>
}

const fileName = 'admin-token'
/** A prefix lets secret scanners and people recognise it. */
const prefix = 'muster_'

/**
 * Loads the hash, or makes a token when there is none yet.
 * @throws MusterError key-invalid when the file is there and is not a hash, data-unwritable when it cannot be written.
 */
export async function loadAdminToken(options: {
  keysDirectory: string
  random?: (bytes: number) => Buffer
}): Promise<AdminToken> {
  const { keysDirectory, random = randomBytes } = options
  const path = join(keysDirectory, fileName)
  const found = await readHash(path)
  const first = found === undefined ? newToken() : undefined
  let hash = found ?? sha256(first as string)
  if (first !== undefined) await writeHash(path, hash)
  return {
    ...(first === undefined ? {} : { issued: first }),
    verify: (presented) => timingSafeEqual(sha256(presented), hash),
    async replace() {
      const token = newToken()
      const next = sha256(token)
      await writeHash(path, next)
      hash = next
      return token
    },
  }

  function newToken(): string {
    return prefix + random(32).toString('base64url')
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

async function readHash(path: string): Promise<Buffer | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw damaged(path, cause)
  }
  const hex = /^sha256:([0-9a-f]{64})\s*$/.exec(text)?.[1]
  if (hex === undefined) throw damaged(path)
  return Buffer.from(hex, 'hex')
}

function damaged(path: string, cause?: unknown): MusterError {
  return new MusterError(
    'key-invalid',
    `The hash of the admin token in ${path} cannot be read. Delete the file: the next start makes a new token and prints it.`,
    { cause, details: { path } },
  )
}

async function writeHash(path: string, hash: Buffer): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeFileDurably(path, Buffer.from(`sha256:${hash.toString('hex')}\n`), 0o600)
  } catch (cause) {
    throw new MusterError(
      'data-unwritable',
      `The hash of the admin token cannot be written to ${path}: ${systemReason(cause)}. Give the folder to the user who runs the server.`,
      { cause, details: { path } },
    )
  }
}

/** What `POST /api/v1/token` answers. */
export const tokenReply = z.object({ token: z.string() })
