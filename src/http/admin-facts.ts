/** The facts behind `GET /api/v1/status`, gathered from the rooms and the data folder. */
import { access, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'
import type { Machines } from '../machines/machines.ts'
import { arch as archSchema } from '../protocol/identifiers.ts'
import type { Releases } from '../releases/releases.ts'
import type { Status, StatusDeciders } from './admin-status.ts'

export function createStatusDeciders(options: {
  version: string
  startedAt: Date
  /** Absolute paths: the data folder, `keys` and `boot` in it. */
  paths: { data: string; keys: string; boot: string }
  /** The agent plane's key, in curl's form. */
  pin: string
  planes(): Status['planes']
  /** What preparation could not make. */
  missing(): Status['missing']
  machines: Pick<Machines, 'count'>
  releases: Releases
  upstream?: string | undefined
}): StatusDeciders {
  const { releases, paths } = options
  return {
    async status() {
      const repository = await repositoryOf(options)
      const missing = [...options.missing(), ...repository.missing]
      return {
        version: options.version,
        startedAt: options.startedAt.toISOString(),
        ready: missing.length === 0,
        data: paths.data,
        planes: options.planes(),
        pin: options.pin,
        missing,
        agents: await agentsIn(paths.boot),
        repositories: repository.known,
        machines: await options.machines.count(),
      }
    },
    async ready() {
      return options.missing().length === 0 && releases.expired() === undefined && hasCatalog(releases)
    },
  }
}

function hasCatalog(releases: Releases): boolean {
  try {
    releases.catalog()
    return true
  } catch {
    return false
  }
}

async function repositoryOf(options: {
  paths: { keys: string }
  releases: Releases
  upstream?: string | undefined
}): Promise<{ known: Status['repositories']; missing: Status['missing'] }> {
  const { releases, upstream, paths } = options
  const expired = releases.expired()
  const missing = expired === undefined ? [] : [toMissing('fresh metadata', expired)]
  try {
    const { versions, expires } = releases.catalog().trusted
    const roles = []
    for (const role of ['root', 'targets', 'snapshot', 'timestamp'] as const) {
      const keyHere = await exists(join(paths.keys, releases.repository, `${role}.pem`))
      roles.push({ role, version: versions[role], expires: expires[role], keyHere })
    }
    const source = upstream === undefined ? {} : { upstream }
    return { known: [{ name: releases.repository, ...source, roles }], missing }
  } catch (error) {
    if (!(error instanceof MusterError)) throw error
    return { known: [], missing: [...missing, toMissing('the TUF repository', error)] }
  }
}

function toMissing(what: string, error: MusterError): Status['missing'][number] {
  return { what, code: error.code, reason: error.message }
}

async function agentsIn(bootDirectory: string): Promise<Status['agents']> {
  const agents: Status['agents'] = []
  for (const arch of archSchema.options) {
    const folder = join(bootDirectory, 'agent', arch)
    try {
      const [kernel, initramfs] = await Promise.all(
        ['kernel', 'initramfs'].map((name) => stat(join(folder, name))),
      )
      agents.push({
        arch,
        kernelBytes: kernel!.size,
        initramfsBytes: initramfs!.size,
        madeAt: initramfs!.mtime.toISOString(),
      })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return agents
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch {
    return false
  }
}
