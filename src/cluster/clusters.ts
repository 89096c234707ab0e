/** The clusters of this server, kept in the database. */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { createDocuments } from '../machines/documents.ts'
import { machineLimits } from '../machines/limits.ts'
import type { Machine } from '../machines/records.ts'
import { didYouMean } from '../nearest.ts'
import type { PlanFile } from '../protocol/plan.ts'
import type { Database } from '../store/database.ts'
import { keepSecrets, parseCluster, renderCluster, type ShownCluster, showCluster } from './cluster.ts'

export type Clusters = {
  has(name: string): Promise<boolean>
  list(): Promise<ShownCluster[]>
  /** @throws cluster-not-found */
  get(name: string): Promise<ShownCluster>
  /** Adds or replaces; a secret without a value keeps the one it has. @throws cluster-invalid, limit-reached */
  put(value: unknown): Promise<ShownCluster>
  /** @throws cluster-not-found */
  remove(name: string): Promise<void>
  /** The files for one machine, secrets inside. @throws cluster-not-found, label-missing, cluster-invalid */
  render(name: string, machine: Pick<Machine, 'id' | 'name' | 'labels'>): Promise<PlanFile[]>
}

export function createClusters(options: {
  database: Database
  now: () => Date
  log: Log
  max?: number
}): Clusters {
  const { database, now, log, max = machineLimits.clustersMax } = options
  const documents = createDocuments({ database, table: 'clusters', parse: parseCluster, max, now, log })
  const require = async (name: string) =>
    (await documents.get(name)) ?? notFound(name, await documents.list())
  return {
    has: async (name) => (await documents.get(name)) !== undefined,
    list: async () => (await documents.list()).map(showCluster),
    get: async (name) => showCluster(await require(name)),
    async put(value) {
      const name = (value as { name?: unknown } | null)?.name
      const known = typeof name === 'string' ? await documents.get(name) : undefined
      const cluster = parseCluster(keepSecrets(value, known))
      await documents.put(cluster)
      return showCluster(cluster)
    },
    remove: async (name) => void ((await documents.remove(name)) || notFound(name, await documents.list())),
    render: async (name, machine) => renderCluster(await require(name), machine),
  }
}

function notFound(name: string, known: readonly { name: string }[]): never {
  const meant = didYouMean(
    name,
    known.map((one) => one.name),
  )
  throw new MusterError(
    'cluster-not-found',
    `there is no cluster '${name.slice(0, 80)}'${meant === '' ? ': make it first, or correct the name' : meant}`,
  )
}
