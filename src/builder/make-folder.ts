/** A folder with those above it. */
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * As `mkdir -p`. Node's own (`recursive: true`) never returns where the folder above is there and takes no new ones by ENOENT, as
 * /proc does: it makes the one above, finds it, and begins again (seen with Node 26).
 *
 * @throws what the system says: ENOENT, ENOTDIR, EACCES, EROFS, EEXIST for a file of that name
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (await isFolder(path)) return
    const above = dirname(path)
    if (code !== 'ENOENT' || above === path || (await isFolder(above))) throw error
    await makeFolder(above)
    await makeFolder(path)
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
}
