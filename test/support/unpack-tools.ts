/** Unpacks the programs of tools.lock under .cache/tools: nothing is installed, and any user may. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseLock } from '../../src/builder/lock.ts'
import { aptMirrors } from '../../src/builder/mirror.ts'
import { dataNames, ensureTools, toolNames } from '../../src/builder/tools.ts'
import { createProgressLines } from '../../src/setup/progress-lines.ts'
import { isWanted, tool, toolsFolder } from './tools.ts'

export const toolsLock = join(import.meta.dirname, 'tools.lock')

/**
 * Gets those of `names` that are wanted, all of them by default. Never throws for one that cannot be had: that is a skipped
 * test, not a failed run. Gives the names that are still missing.
 */
export async function unpackTools(
  print: (line: string) => void,
  names: readonly string[] = toolNames,
): Promise<string[]> {
  for (const name of names.filter(isWanted)) await unpack(name, print)
  return names.filter((name) => (dataNames.includes(name) ? isWanted(name) : tool(name) === undefined))
}

async function unpack(name: string, print: (line: string) => void): Promise<void> {
  print(`unpacking ${name} under .cache/tools`)
  try {
    const lock = parseLock(await readFile(toolsLock, 'utf8'), toolsLock)
    const cacheDir = join(toolsFolder, '../muster/packages')
    await mkdir(cacheDir, { recursive: true })
    await ensureTools({
      names: [name],
      lock,
      mirrors: await aptMirrors(),
      cacheDir,
      folder: toolsFolder,
      progress: createProgressLines(print),
    })
  } catch (error) {
    print(`${name}: ${(error as Error).message}`)
  }
}
