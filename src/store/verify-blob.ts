/** Whether a stored file still is what its name says: hashed once per process and again whenever the file changed. */
import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, stat } from 'node:fs/promises'
import { MusterError } from '../errors.ts'

const hashChunkBytes = 1_048_576

export type BlobVerifier = {
  /** Hashes the open file unless this very file (inode, size, time of change) was found right before. */
  isRight(handle: FileHandle, path: string, digest: string): Promise<boolean>
  /** Remembers a file that was hashed while it was written. */
  trust(path: string): Promise<void>
}

export function createBlobVerifier(): BlobVerifier {
  const right = new Map<string, string>()
  const underWay = new Map<string, Promise<boolean>>()
  return {
    async isRight(handle, path, digest) {
      const seen = identityOf(await handle.stat({ bigint: true }))
      if (right.get(path) === seen) return true
      // Many machines ask for one kernel at the same time: one hashes, the others wait for it.
      const key = `${path} ${seen}`
      let check = underWay.get(key)
      if (check === undefined) {
        check = hashWhole(handle)
          .then((found) => {
            if (found === digest) right.set(path, seen)
            return found === digest
          })
          .finally(() => underWay.delete(key))
        underWay.set(key, check)
      }
      return check
    },
    async trust(path) {
      right.set(path, identityOf(await stat(path, { bigint: true })))
    },
  }
}

/** Feeds the first `length` bytes of a file to a hash. */
export async function hashFile(handle: FileHandle, hash: Hash, length: number): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(hashChunkBytes, Math.max(1, length)))
  for (let position = 0; position < length; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - position), position)
    if (bytesRead === 0) {
      throw new MusterError(
        'store-failed',
        `A file ended after ${position} of ${length} bytes while it was hashed.`,
      )
    }
    hash.update(buffer.subarray(0, bytesRead))
    position += bytesRead
  }
}

async function hashWhole(handle: FileHandle): Promise<string> {
  const hash = createHash('sha256')
  await hashFile(handle, hash, (await handle.stat()).size)
  return `sha256:${hash.digest('hex')}`
}

function identityOf(file: { ino: bigint; size: bigint; mtimeNs: bigint; ctimeNs: bigint }): string {
  return `${file.ino} ${file.size} ${file.mtimeNs} ${file.ctimeNs}`
}
