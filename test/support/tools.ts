/** Finds the real programs that judge us: on PATH first, then those unpacked under .cache/tools (scripts/test.ts). */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

const unpacked = join(import.meta.dirname, '../../.cache/tools/bin')

/** Absolute path of a program, or undefined where it is missing; a test then says `skipReason(name)`. */
export function tool(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', unpacked]
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable)
}

export function skipReason(name: string): string {
  return `${name} is not installed; 'npm test' unpacks it under .cache/tools on Debian`
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
