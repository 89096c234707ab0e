/**
 * Downloads that are under way, in a folder that several programs may share: `<file>.partial` belongs to nobody, and
 * `<file>.partial-<pid>-<start>-<random>` to the process that took it, until it is given back or the process is no more (killed: the next one
 * goes on from there).
 */
import { randomUUID } from 'node:crypto'
import { readdir, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Tells this process from an earlier one of the same number: in a container every one is number 1. */
const startOfProcess = () => String(Math.round(performance.timeOrigin))

/** Path of a partial file that is this caller's alone: what an earlier download left, or none yet. */
export async function takePartial(file: string): Promise<string> {
  const own = `${file}.partial-${process.pid}-${startOfProcess()}-${randomUUID().slice(0, 8)}`
  const prefix = `${basename(file)}.partial`
  const names = (await readdir(dirname(file))).filter((name) => name.startsWith(prefix))
  for (const name of names.filter((each) => isAbandoned(each.slice(prefix.length)))) {
    // Another process may be faster: then there is nothing to rename.
    const taken = await rename(join(dirname(file), name), own).then(
      () => true,
      () => false,
    )
    if (taken) return own
  }
  return own
}

/** Leaves what has arrived to whoever comes next. */
export async function givePartialBack(file: string, own: string): Promise<void> {
  await rename(own, `${file}.partial`).catch(() => undefined)
}

/**
 * Replaces a file: a reader sees the old one or the new one, whole, also when two write it at once, and after a power cut: what
 * says that it is made comes later, and must not outlive it.
 */
export async function replaceFile(path: string, bytes: string | Uint8Array): Promise<void> {
  const fresh = `${path}.new-${randomUUID().slice(0, 8)}`
  await writeFile(fresh, bytes, { flush: true })
  await rename(fresh, path)
}

function isAbandoned(suffix: string): boolean {
  const [, pid, start] = suffix.split('-')
  if (pid === undefined) return true
  if (Number(pid) === process.pid) return start !== startOfProcess()
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
