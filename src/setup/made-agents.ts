/**
 * The agents that firmware is given, as they lie in data/boot/agent/<arch>. What an agent was made as stands beside it in
 * `hardware`: settings may have changed since, and their build be under way, have failed or be switched off.
 */
import { access, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Hardware } from '../builder/agent-image.ts'
import { replaceFile } from '../builder/partial-file.ts'
import type { Status } from '../http/admin-status.ts'
import { type Arch, arch as archSchema } from '../protocol/identifiers.ts'
import type { Paths } from './paths.ts'

const hardwares: readonly Hardware[] = ['virtual', 'server']

export const agentFolder = (paths: Pick<Paths, 'boot'>, arch: string) => join(paths.boot, 'agent', arch)

/** Whether an agent for this architecture can be loaded. */
export async function hasAgent(paths: Pick<Paths, 'boot'>, arch: string): Promise<boolean> {
  try {
    const folder = agentFolder(paths, arch)
    await access(join(folder, 'initramfs'))
    await access(join(folder, 'kernel'))
    return true
  } catch {
    return false
  }
}

/** Of every architecture, also of one that the settings name no more: firmware is given whatever is there. */
export async function madeAgents(paths: Pick<Paths, 'boot'>): Promise<Status['agents']> {
  const found = await Promise.all(archSchema.options.map((arch) => madeAgent(paths, arch)))
  return found.filter((agent) => agent !== undefined)
}

async function madeAgent(
  paths: Pick<Paths, 'boot'>,
  arch: Arch,
): Promise<Status['agents'][number] | undefined> {
  if (!(await hasAgent(paths, arch))) return undefined
  const folder = agentFolder(paths, arch)
  const [kernel, initramfs] = await Promise.all([
    stat(join(folder, 'kernel')),
    stat(join(folder, 'initramfs')),
  ])
  const hardware = await agentHardware(folder)
  return {
    arch,
    ...(hardware === undefined ? {} : { hardware }),
    kernelBytes: kernel.size,
    initramfsBytes: initramfs.size,
    madeAt: initramfs.mtime.toISOString(),
  }
}

/** Whose drivers the agent of a folder has; undefined of one that nothing was written beside. */
export async function agentHardware(folder: string): Promise<Hardware | undefined> {
  const text = await readFile(join(folder, 'hardware'), 'utf8').catch(() => '')
  return hardwares.find((one) => one === text.trim())
}

/** To be called once the agent is in place: until then the one before it is served, and is what was written of that one. */
export async function noteHardware(folder: string, hardware: Hardware): Promise<void> {
  if ((await agentHardware(folder)) === hardware) return
  await replaceFile(join(folder, 'hardware'), Buffer.from(`${hardware}\n`))
}
