/** What machines join. One file per kind; `static` is the first: files that are rendered for each machine. */
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import type { Labels } from '../machines/records.ts'
import type { PlanFile } from '../protocol/plan.ts'
import { checkStatic, renderStatic, staticCluster } from './static.ts'

export const clusterSchema = z.discriminatedUnion('kind', [staticCluster])
export type Cluster = z.output<typeof clusterSchema>

/** What lists and pages show: a secret's name and rule, never its value. */
export type ShownCluster = Omit<Cluster, 'secrets'> & {
  secrets: Record<string, { allowUnattested: boolean }>
}

/** @throws cluster-invalid, with every problem and where it is; no message repeats a secret. */
export function parseCluster(value: unknown): Cluster {
  const given = (value as { name?: unknown } | null)?.name
  const name = typeof given === 'string' ? ` '${given.slice(0, 80)}'` : ''
  const result = clusterSchema.safeParse(value)
  if (!result.success) {
    const problems = result.error.issues.map(
      (issue) => `${issue.path.join('.') || 'cluster'}: ${issue.message}`,
    )
    throw new MusterError('cluster-invalid', `the cluster${name} is not valid: ${problems.join('; ')}`, {
      details: { problems },
    })
  }
  checkStatic(result.data)
  return result.data
}

export function showCluster(cluster: Cluster): ShownCluster {
  const secrets = Object.entries(cluster.secrets).map(([name, { allowUnattested }]) => [
    name,
    { allowUnattested },
  ])
  return { ...cluster, secrets: Object.fromEntries(secrets) as ShownCluster['secrets'] }
}

/** The files that this machine is given. They may hold secrets: into the signed plan, nowhere else. @throws label-missing, cluster-invalid */
export function renderCluster(
  cluster: Cluster,
  machine: { id: string; name: string; labels: Labels },
): PlanFile[] {
  return renderStatic(cluster, machine)
}
