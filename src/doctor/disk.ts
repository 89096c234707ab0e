/** Whether what the server writes still fits: a lease, an event and a signature all want a few kilobytes. */
import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

export type Disk = { folder: string; freeBytes: number; totalBytes: number }

const leastBytes = 1 << 30
const leastShare = 0.02

export function judgeDisks(disks: readonly Disk[]): Verdict {
  if (disks.length === 0) return unknown('no folder of the server is known')
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  const full = disks.filter(
    ({ freeBytes, totalBytes }) =>
      freeBytes < Math.min(leastBytes, Math.max(totalBytes * leastShare, 64 << 20)),
  )
  if (full.length > 0)
    return trouble(
      `almost full: ${full.map(({ folder, freeBytes, totalBytes }) => `${folder} (${gigabytes(freeBytes)} of ${gigabytes(totalBytes)} free)`).join(', ')}`,
      'make room, or move the folder (data, cache): leases, events and images cannot be written on a full disk',
    )
  return ok(disks.map(({ folder, freeBytes }) => `${folder}: ${gigabytes(freeBytes)} free`).join(', '))
}

export async function checkDisks({ folders }: Facts): Promise<Verdict> {
  const disks: Disk[] = []
  const failures: string[] = []
  for (const folder of folders) {
    try {
      const { bavail, blocks, bsize } = await statfs(existing(folder))
      disks.push({ folder, freeBytes: bavail * bsize, totalBytes: blocks * bsize })
    } catch (error) {
      failures.push(`${folder}: ${(error as Error).message}`)
    }
  }
  return disks.length === 0 && failures.length > 0 ? unknown(failures.join('; ')) : judgeDisks(disks)
}

/** Before the first start the folder is not there: it will be on the disk of the one above it. */
function existing(folder: string): string {
  let found = folder
  while (!existsSync(found) && dirname(found) !== found) found = dirname(found)
  return found
}
