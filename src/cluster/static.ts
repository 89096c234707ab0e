/**
 * Clusters of kind `static`: files written once as templates, rendered per machine, carried by the signed plan. Enough for a
 * kubeadm JoinConfiguration or a k3s config.yaml. A secret in them is the same for every machine, and before attestation exists
 * it goes to whoever claims a MAC address that was approved: so each one must say `allowUnattested: true`.
 */
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import type { Labels } from '../machines/records.ts'
import { fileModeProblem, fileNameProblem, type PlanFile, planLimits } from '../protocol/plan.ts'
import { renderTemplate, templateNames } from './template.ts'

const octal = z
  .string()
  .regex(/^0?[0-7]{3}$/, "file rights in octal, such as '0600'")
  .transform((text) => Number.parseInt(text, 8))

/** An agent refuses the same by the same rule (protocol/plan.ts), but at a rack and not at a desk. */
const passes =
  <Value>(problemOf: (value: Value) => string | undefined) =>
  (value: Value, context: z.RefinementCtx) => {
    const message = problemOf(value)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  }

/** `mode: 0640` without quotes is the number 640 in YAML, which is no mode: so whoever wrote it is told. */
function modeProblem(mode: number): string | undefined {
  const problem = fileModeProblem(mode)
  return problem === undefined ? undefined : `${problem}; write it in octal and in quotes, such as '0600'`
}

const file = z.strictObject({
  /** Flat, under /muster of the booted system. */
  name: z
    .string()
    .superRefine(passes(fileNameProblem))
    .refine((name) => name !== 'report.json', "'report.json' is Muster's own"),
  /** What an agent writes: never setuid, setgid or sticky, never writable by others. */
  mode: z
    .union([octal, z.int()], { error: "file rights in octal and in quotes, such as '0600'" })
    .superRefine(passes(modeProblem))
    .default(0o600),
  format: z.enum(['yaml', 'text']).default('yaml'),
  template: z.string().max(planLimits.fileBytes),
})

const secret = z.strictObject({
  value: z
    .string({
      error: ({ input }) =>
        input === undefined ? 'it is not there, and this cluster has none yet that could be kept' : undefined,
    })
    .min(1)
    .max(8192),
  allowUnattested: z.boolean().default(false),
})

export const staticCluster = z.strictObject({
  name: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "at most 63 of a-z, 0-9 and '-'"),
  kind: z.literal('static'),
  /** One place in a plan is Muster's own report.json. */
  files: z.array(file).max(planLimits.files - 1),
  secrets: z.record(z.string().regex(/^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/), secret).default({}),
})
export type StaticCluster = z.output<typeof staticCluster>

/** What a schema cannot say. @throws cluster-invalid */
export function checkStatic(cluster: StaticCluster): void {
  const names = cluster.files.map((entry) => entry.name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw invalid(cluster, `two files are called '${twice}'`)
  for (const [name, { allowUnattested }] of Object.entries(cluster.secrets)) {
    if (!allowUnattested)
      throw invalid(
        cluster,
        `the secret '${name}' would go to machines that proved nothing: there is no attestation yet, so either say allowUnattested: true for it or leave it out`,
      )
  }
  const probe = { id: 'm-aaaaaaaaaaaaaaaa', name: 'probe' }
  for (const { name, format, template } of cluster.files) {
    try {
      for (const wanted of templateNames(template)) {
        const key = wanted.startsWith('secret.') ? wanted.slice('secret.'.length) : undefined
        if (key !== undefined && !Object.hasOwn(cluster.secrets, key))
          throw invalid(cluster, `the file '${name}' asks for the secret '${key}', which is not there`)
      }
      renderTemplate(template, format, (wanted) =>
        wanted.startsWith('label.') ? 'probe' : lookup(cluster, { ...probe, labels: {} }, wanted),
      )
    } catch (cause) {
      if (cause instanceof MusterError && cause.details['cluster'] === undefined)
        throw invalid(cluster, `the file '${name}': ${cause.message}`, cause)
      throw cause
    }
  }
}

type Subject = { id: string; name: string; labels: Labels }

/** @throws label-missing (details.labels); cluster-invalid when a file becomes too large. */
export function renderStatic(cluster: StaticCluster, machine: Subject): PlanFile[] {
  requireLabels(cluster, machine)
  return cluster.files.map(({ name, mode, format, template }) => {
    let text: string
    try {
      text = renderTemplate(template, format, (wanted) => lookup(cluster, machine, wanted))
    } catch (cause) {
      if (!(cause instanceof MusterError)) throw cause
      throw invalid(cluster, `the file '${name}' for ${machine.name}: ${cause.message}`, cause)
    }
    const bytes = Buffer.from(text)
    if (bytes.length > planLimits.fileBytes)
      throw invalid(
        cluster,
        `the file '${name}' for ${machine.name} has ${bytes.length} bytes, more than ${planLimits.fileBytes}`,
      )
    return { name, mode, bytes: bytes.toString('base64') }
  })
}

/** All that are missing at once: whoever sets them goes to the rack once. */
function requireLabels(cluster: StaticCluster, { labels, name: machine }: Subject): void {
  const missing = cluster.files.flatMap(({ name, template }) =>
    templateNames(template)
      .filter((wanted) => wanted.startsWith('label.'))
      .map((wanted) => ({ label: wanted.slice('label.'.length), file: name }))
      .filter(({ label }) => !Object.hasOwn(labels, label)),
  )
  if (missing.length === 0) return
  const names = [...new Set(missing.map(({ label }) => label))]
  const files = [...new Set(missing.map(({ file }) => `'${file}'`))].join(', ')
  const quoted = names.map((label) => `'${label}'`).join(', ')
  const [plural, them] = names.length === 1 ? ['label', 'it'] : ['labels', 'them']
  const command = `muster machine label ${machine} ${names.map((label) => `${label}=VALUE`).join(' ')}`
  throw new MusterError(
    'label-missing',
    `${machine} lacks the ${plural} ${quoted}, needed by ${files} of the cluster '${cluster.name}': '${command}' sets ${them}`,
    { details: { cluster: cluster.name, labels: names } },
  )
}

function lookup(cluster: StaticCluster, machine: Subject, wanted: string): string | undefined {
  if (wanted === 'machine.name') return machine.name
  if (wanted === 'machine.id') return machine.id
  const [kind, key] = [wanted.slice(0, wanted.indexOf('.')), wanted.slice(wanted.indexOf('.') + 1)]
  if (kind === 'label') return Object.hasOwn(machine.labels, key) ? machine.labels[key] : undefined
  return Object.hasOwn(cluster.secrets, key) ? cluster.secrets[key]?.value : undefined
}

function invalid(cluster: StaticCluster, message: string, cause?: unknown): MusterError {
  return new MusterError('cluster-invalid', `the cluster '${cluster.name}' is not valid: ${message}`, {
    cause,
    details: { cluster: cluster.name },
  })
}
