/** Finds the real programs that judge us: on PATH, or unpacked under .cache/tools (unpack-tools.ts). */
import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { dataNames, toolNames } from '../../src/builder/tools.ts'

export const toolsFolder = join(import.meta.dirname, '../../.cache/tools')

/**
 * The emulator is always the one that was unpacked: what a virtual machine does must not depend on which QEMU is installed.
 * Version 7.2 (Debian 12) loses the processor's flags now and then: the guest's kernel, the first or a kexeced one, then ends
 * in an Oops with impossible EFLAGS, in about half of the runs of a minute. 10.0 did not in 60 kexecs in a row.
 */
const emulators = ['qemu-system-x86_64', 'qemu-system-aarch64']
const emulatorMajorLeast = 8

/** Absolute path of a program, or undefined where it is missing; a test then says `skipReason(name)`. */
export function tool(name: string): string | undefined {
  const installed = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
  const unpacked = join(toolsFolder, 'bin', name)
  if (!emulators.includes(name)) return [...installed, unpacked].find(isExecutable)
  if (isExecutable(unpacked)) return unpacked
  return installed.find((path) => isExecutable(path) && majorVersion(path) >= emulatorMajorLeast)
}

/** A file of the unpacked packages of data, `usr/share/OVMF/…`; undefined where it is missing. */
export function dataFile(path: string): string | undefined {
  const unpacked = join(toolsFolder, 'tree', path)
  return existsSync(unpacked) ? unpacked : undefined
}

/** Whether it is to be unpacked before anything runs. Data always comes from its package: which firmware runs must not depend on the machine. */
export function isWanted(name: string): boolean {
  if (dataNames.includes(name)) return !existsSync(join(toolsFolder, 'unpacked', name))
  return emulators.includes(name) ? !isExecutable(join(toolsFolder, 'bin', name)) : tool(name) === undefined
}

export function skipReason(name: string): string {
  if (!toolNames.includes(name)) return `${name} is not installed, and 'npm test' does not unpack it`
  const older = emulators.includes(name) ? `, or is older than version ${emulatorMajorLeast}` : ''
  return `${name} is not installed${older}; 'npm test' unpacks it under .cache/tools on Debian`
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** 0 when the program does not say. */
function majorVersion(path: string): number {
  try {
    return Number(/version (\d+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1] ?? 0)
  } catch {
    return 0
  }
}
