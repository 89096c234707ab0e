/** `muster status`: planes, what is missing, agents, expiries. */
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { UnknownFiles } from '../boot/unknown-files.ts'
import type { Config } from '../config/schema.ts'
import { errorCodeOf } from '../errors.ts'
import { isLoopbackHost } from '../http/admin-access.ts'
import type { Status, StatusDeciders } from '../http/admin-status.ts'
import type { TlsIdentity } from '../http/tls.ts'
import type { Machines } from '../machines/machines.ts'
import type { Releases } from '../releases/releases.ts'
import type { Missing } from './first-start.ts'
import type { Ports } from './listeners.ts'
import { madeAgents } from './made-agents.ts'
import { openableHost } from './own-hosts.ts'
import type { Paths } from './paths.ts'

export type StatusFacts = {
  version: string
  startedAt: Date
  config: Config
  paths: Paths
  tls: TlsIdentity
  ports: Ports
  machines: Machines
  releases: Releases
  unknown: Pick<UnknownFiles, 'list'>
  /** What is not prepared: still being made, or it could not be. */
  missing(): Missing[]
}

export function statusDeciders(facts: StatusFacts): StatusDeciders {
  const { config, machines, paths, ports, releases, startedAt, tls, version } = facts
  return {
    async ready() {
      const { databaseMissing } = await count(machines)
      return databaseMissing.length === 0 && lacking(facts).length === 0
    },
    async status() {
      const { counts, databaseMissing } = await count(machines)
      const missing = [...databaseMissing, ...lacking(facts)]
      const { admin, agent, firmware, tftp } = config
      const adminScheme = isLoopbackHost(admin.host) ? 'http' : 'https'
      const planes: Status['planes'] = [
        planeOf(config, 'firmware', { scheme: 'http', host: firmware.host, port: ports.firmware }),
        planeOf(config, 'agent', { scheme: 'https', host: agent.host, port: ports.agent }),
        planeOf(config, 'admin', { scheme: adminScheme, host: admin.host, port: ports.admin }),
      ]
      if (ports.tftp !== undefined)
        planes.push(
          planeOf(
            config,
            'tftp',
            { scheme: 'tftp', host: tftp.host, port: ports.tftp },
            tftpNote(tftp.port, ports.tftp),
          ),
        )
      if (ports.dhcp !== undefined) {
        const { addresses, server } = ports.dhcp
        const note = `${config.dhcp.mode === 'auto' ? 'auto, now ' : ''}${server.mode}`
        for (const address of addresses)
          planes.push({ name: 'dhcp', url: `udp://${address}:${config.dhcp.port}`, note })
      }
      return {
        version,
        startedAt: startedAt.toISOString(),
        ready: missing.length === 0,
        data: paths.data,
        planes,
        ...(config.advertise === undefined ? {} : { advertise: config.advertise }),
        dhcp: {
          mode: config.dhcp.mode,
          ...(ports.dhcp !== undefined && config.dhcp.mode === 'auto' ? { now: ports.dhcp.server.mode } : {}),
          addresses: [...(ports.dhcp?.addresses ?? [])],
        },
        pin: tls.pin,
        missing,
        agents: await madeAgents(paths),
        repositories: [await repositoryOf(config, releases, paths)],
        machines: counts,
        unknownFiles: facts.unknown.list().length,
      }
    },
  }
}

function planeOf(
  config: Config,
  name: string,
  where: { scheme: string; host: string; port: number },
  trouble?: string,
): Status['planes'][number] {
  const { host, note: everywhere } = openableHost(where.host, config)
  const note = [trouble, everywhere].filter((part) => part !== undefined).join('; ')
  return {
    name,
    url: `${where.scheme}://${host}:${where.port}`,
    ...(note === '' ? {} : { note }),
  }
}

function tftpNote(wanted: number, port: number): string | undefined {
  if (port === 69) return undefined
  return wanted === 69
    ? 'port 69 was not permitted; PXE ROMs ask that one only'
    : 'PXE ROMs ask port 69 only (tftp.port)'
}

/** Asks the database, without which no machine boots. */
async function count(
  machines: Machines,
): Promise<{ counts: Status['machines']; databaseMissing: Missing[] }> {
  try {
    return { counts: await machines.count(), databaseMissing: [] }
  } catch (error) {
    return { counts: {}, databaseMissing: [missingBy('the database', error)] }
  }
}

/** What keeps machines from booting: what is not prepared, metadata that no machine would accept now, no key to sign plans with. */
function lacking(facts: StatusFacts): Missing[] {
  return [...facts.missing(), ...lackingMetadata(facts), ...lackingPlanKey(facts)]
}

function lackingMetadata({ releases }: StatusFacts): Missing[] {
  try {
    releases.catalog()
  } catch (error) {
    return [missingBy('release metadata', error)]
  }
  const expired = releases.expired()
  return expired === undefined ? [] : [missingBy('release metadata', expired)]
}

/** Of a follower nobody but a person can bring it: upstream's metadata names the key, and never the key itself. */
function lackingPlanKey({ config, paths, releases }: StatusFacts): Missing[] {
  try {
    releases.planSigner()
    return []
  } catch (error) {
    const code = errorCodeOf(error)
    // Without metadata nobody knows yet which key it has to be.
    if (code !== 'key-not-found' && code !== 'key-invalid') return []
    const path = join(paths.keys, releases.repository, 'plan.pem')
    const found =
      code === 'key-not-found' ? `${path} is not there` : (error as Error).message.replace(/\.$/, '')
    const wayOut =
      config.releases.upstream === undefined
        ? 'Restore it from the backup of the keys folder'
        : `Copy the one of the server that is followed to ${path}, mode 0600 (docs/followers.md)`
    const reason = `${found}: no plan can be signed, so no machine boots a verified image. ${wayOut}, and start again.`
    return [{ what: 'the plan key', code, reason }]
  }
}

function missingBy(what: string, error: unknown): Missing {
  return { what, code: errorCodeOf(error), reason: (error as Error).message }
}

async function repositoryOf(
  config: Config,
  releases: Releases,
  paths: Paths,
): Promise<Status['repositories'][number]> {
  const name = releases.repository
  const syncFailure = releases.syncFailure()
  const upstream = {
    ...(config.releases.upstream === undefined ? {} : { upstream: config.releases.upstream.url }),
    ...(syncFailure === undefined ? {} : { syncFailure }),
  }
  let trusted: ReturnType<Releases['catalog']>['trusted']
  try {
    trusted = releases.catalog().trusted
  } catch {
    return { name, ...upstream, roles: [] }
  }
  const roles = await Promise.all(
    (['root', 'targets', 'snapshot', 'timestamp'] as const).map(async (role) => ({
      role,
      version: trusted.versions[role],
      expires: trusted.expires[role],
      keyHere: await exists(join(paths.keys, name, `${role}.pem`)),
    })),
  )
  return { name, ...upstream, roles }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
