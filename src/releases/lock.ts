/**
 * One process per data folder: two would sign two states under one version number.
 *
 * The lock is a file with the number of its process and when that process started, because numbers are used again: after
 * `kill -9`, or in a container where every process is number 1. Linux tells the start in /proc/<pid>/stat, field 22.
 */
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MusterError } from '../errors.ts'

export type Lock = AsyncDisposable

/** @throws MusterError `repository-locked` when the process that holds it is alive. */
export async function acquireLock(path: string): Promise<Lock> {
  await mkdir(dirname(path), { recursive: true })
  const mine = `${process.pid} ${await startOf(process.pid)}\n`
  const candidate = `${path}.${process.pid}`
  await writeFile(candidate, mine)
  try {
    // Two rounds: the first may find the lock of a process that is gone.
    for (let round = 0; round < 2; round += 1) {
      if (await linked(candidate, path)) return release(path, mine)
      const holder = await readFile(path, 'utf8').catch(() => '')
      const [pid = '', start = ''] = holder.trim().split(' ')
      if (Number(pid) > 0 && (await startOf(Number(pid))) === start) {
        const sentence = `Process ${pid} uses ${dirname(path)} already; stop it first, or use another data folder.`
        throw new MusterError('repository-locked', sentence, { details: { path, pid: Number(pid) } })
      }
      await rm(path, { force: true })
    }
  } finally {
    await rm(candidate, { force: true })
  }
  throw new MusterError('repository-locked', `Another process took ${path} at this very moment; try again.`)
}

function release(path: string, mine: string): Lock {
  return {
    async [Symbol.asyncDispose]() {
      if ((await readFile(path, 'utf8').catch(() => '')) === mine) await rm(path, { force: true })
    },
  }
}

/** `link` fails when the name exists and shows the content at once: no reader finds an empty lock. */
async function linked(candidate: string, path: string): Promise<boolean> {
  try {
    await link(candidate, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/**
 * When a process started, in ticks since the machine did; `gone` when there is none, `alive` where /proc is not. One that ended and
 * that nobody has waited for yet (a zombie, proc(5)) is gone: in a container whose first process waits for none it stays for ever.
 */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // Field 2 is the program's name in parentheses and may hold spaces; behind it stand fields 3 (state) to 22 (start).
    const [state = '', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return 'ZXx'.includes(state) ? 'gone' : (fields[18] ?? 'alive')
  } catch {
    try {
      process.kill(pid, 0)
      return 'alive'
    } catch {
      return 'gone'
    }
  }
}
