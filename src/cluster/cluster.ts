/** What machines join. One file per kind; `static` is the first: files that are rendered for each machine. */
import { z } from 'zod'
import { documentProblem } from '../document-problem.ts'
import { MusterError } from '../errors.ts'
import type { Labels } from '../machines/records.ts'
import type { PlanFile } from '../protocol/plan.ts'
import { checkStatic, renderStatic, staticCluster } from './static.ts'

export const clusterSchema = z.discriminatedUnion('kind', [staticCluster], {
  error: "only 'static' exists; what k3s or kubeadm read are files of it (docs/clusters.md has both)",
})
export type Cluster = z.output<typeof clusterSchema>

/** What lists and pages show, as people write it and as `parseCluster` takes it: rights in octal, of a secret its rule and never its value. */
export type ShownCluster = Omit<Cluster, 'files' | 'secrets'> & {
  files: (Omit<Cluster['files'][number], 'mode'> & { mode: string })[]
  secrets: Record<string, { allowUnattested: boolean }>
}

/** @throws cluster-invalid, with every problem and where it is; no message repeats a secret. */
export function parseCluster(value: unknown): Cluster {
  const given = (value as { name?: unknown } | null)?.name
  const name = typeof given === 'string' ? ` '${given.slice(0, 80)}'` : ''
  const result = clusterSchema.safeParse(value)
  if (!result.success) {
    const problems = result.error.issues.map((issue) => documentProblem(issue, value, 'cluster'))
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
  return {
    ...cluster,
    files: cluster.files.map((file) => ({ ...file, mode: `0${file.mode.toString(8).padStart(3, '0')}` })),
    secrets: Object.fromEntries(secrets) as ShownCluster['secrets'],
  }
}

/**
 * What `showCluster` gave, with the values that it left out: a secret without `value` keeps the one that the cluster has. Anything
 * else is left as it is, for `parseCluster` to judge.
 */
export function keepSecrets(given: unknown, known: Cluster | undefined): unknown {
  if (!isRecord(given) || !isRecord(given['secrets']) || known === undefined) return given
  const secrets = Object.entries(given['secrets']).map(([name, secret]) => {
    const kept = Object.hasOwn(known.secrets, name) ? known.secrets[name] : undefined
    const wanted = kept !== undefined && isRecord(secret) && secret['value'] === undefined
    return [name, wanted ? { ...secret, value: kept.value } : secret]
  })
  return { ...given, secrets: Object.fromEntries(secrets) as Record<string, unknown> }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The files that this machine is given. They may hold secrets: into the signed plan, nowhere else. @throws label-missing, cluster-invalid */
export function renderCluster(
  cluster: Cluster,
  machine: { id: string; name: string; labels: Labels },
): PlanFile[] {
  return renderStatic(cluster, machine)
}
