/** Machines as people see and decide about them. */
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import { normaliseMac } from '../machines/identifiers.ts'
import { isLabelName, labelLimits, labelNameRule } from '../machines/names.ts'
import { type BootView, boot } from './admin-boots.ts'
import { page, pageQuery, toPage } from './admin-paging.ts'
import { type AdminRoute, route } from './admin-route.ts'

const isMac = (text: string) => normaliseMac(text) !== undefined
const labelName = z.string().refine(isLabelName, `a label's name has ${labelNameRule}`)

const labelValue = z
  .string()
  .max(
    labelLimits.valueChars,
    `a label's value has at most ${labelLimits.valueChars} characters, and may be empty`,
  )

export const machine = z.object({
  id: z.string(),
  name: z.string().describe('Node name, DNS-1123, unique'),
  enrolment: z.enum(['discovered', 'approved', 'quarantined', 'retired']),
  trust: z.string().describe('none, code, device-key, tpm or tpm+measured'),
  arch: z.string(),
  labels: z.record(z.string(), z.string()),
  macs: z.array(z.string()),
  uuid: z.string().optional(),
  serial: z.string().optional(),
  vendor: z.string().optional(),
  product: z.string().optional(),
  hardware: z
    .object({
      hardwareIds: z.array(z.string()),
      memoryBytes: z.number(),
      processors: z.number(),
      firmware: z.string().optional(),
    })
    .describe('What the machine says of its hardware'),
  firstSeenAt: z.string(),
  lastSeenAt: z.string(),
  macsChangedAt: z
    .string()
    .optional()
    .describe(
      'Nobody decided on it yet, and it said other MAC addresses before then: approving it wants them named',
    ),
  claimsChanged: z
    .partialRecord(
      z.enum(['uuid', 'serial', 'arch', 'vendor', 'product']),
      z.object({ before: z.string().optional(), at: z.string() }),
    )
    .optional()
    .describe(
      'Nobody decided on it yet, and it said these otherwise before then: approving it wants named what has `before`',
    ),
  decidedAt: z.string().optional(),
  decidedBy: z.string().optional(),
  unverified: z
    .string()
    .optional()
    .describe('Profile that gives it files which nobody signed; said where one machine is asked for'),
  waits: z
    .string()
    .optional()
    .describe('Why it boots nothing now, and what mends that; said where one machine is asked for'),
  waitsFor: z
    .string()
    .optional()
    .describe('The same in a few words, for a list; left out when it waits for nothing'),
})
export type MachineView = z.output<typeof machine>

const because = z.array(z.string())

/** What a machine would boot now and why: the facts behind `muster machine why`. */
export const why = z.object({
  machine: z.object({ id: z.string(), name: z.string(), enrolment: z.string(), trust: z.string() }),
  eligibility: z.discriminatedUnion('status', [
    z.object({ status: z.literal('boot'), profile: z.string(), because }),
    z.object({
      status: z.literal('wait'),
      reason: z.string(),
      code: z.string().optional().describe('Of what is missing for a plan'),
      profile: z.string().optional().describe('What it boots by as soon as that is there'),
      because: because.optional(),
    }),
    z.object({ status: z.literal('skip'), reason: z.string() }),
    z.object({ status: z.literal('error'), code: z.string(), reason: z.string() }),
  ]),
  release: z
    .object({
      target: z.string(),
      digest: z.string(),
      minReleaseCounter: z.number(),
      because,
    })
    .or(z.object({ code: z.string(), reason: z.string() }))
    .optional()
    .describe('What its profile means now; a code where nothing fits'),
  join: z
    .object({ cluster: z.string(), files: z.array(z.string()) })
    .or(z.object({ cluster: z.string(), code: z.string(), reason: z.string() }))
    .optional()
    .describe(
      'The cluster of its profile and the files it is given for it; a code where they cannot be made',
    ),
  profiles: z
    .array(
      z.object({
        name: z.string(),
        matches: z.boolean(),
        measure: z.number(),
        unverified: z.literal(true).optional().describe('Gives files that nobody signed'),
        sentences: z.array(z.string()),
      }),
    )
    .describe('Most specific first: what held and what did not'),
  lastBoot: z
    .object({
      id: z.string(),
      outcome: z.string().optional(),
      agentOrigin: z.string(),
      trust: z.string().describe('How far it can be trusted, and why no further'),
      because,
    })
    .optional(),
})
export type WhyView = z.output<typeof why>

const patch = z
  .strictObject({
    name: z.string().min(1).max(63).optional().describe('A new node name, DNS-1123'),
    labels: z
      .record(labelName, labelValue.nullable())
      .optional()
      .describe('Labels to set; null takes one away; others stay'),
  })
  .refine((value) => value.name !== undefined || value.labels !== undefined, 'name or labels must be given')

const claim = (what: string) =>
  z
    .string()
    .max(128)
    .optional()
    .describe(`Its ${what}, as the person saw it, empty for none: refused when it says another`)

/** What a person saw of the machine that is meant. */
const approval = z
  .strictObject({
    macs: z
      .array(z.string().max(64).refine(isMac, 'this is no MAC address, which looks like 52:54:00:12:34:56'))
      .max(64)
      .optional()
      .describe('All its MAC addresses, as the person saw them: refused when it has others'),
    uuid: claim('UUID'),
    serial: claim('serial number'),
    arch: claim('architecture'),
    vendor: claim('vendor'),
    product: claim('product'),
  })
  .nullish()

type Approval = { [Key in keyof Claimed]?: Exclude<Claimed[Key], undefined> }
type Claimed = NonNullable<z.output<typeof approval>>

/** `machine` in arguments: id, node name, or MAC address. */
export type MachineDeciders = {
  list(query: { after?: string; limit: number; enrolment?: MachineView['enrolment'] }): Promise<MachineView[]>
  /** @throws MusterError machine-not-found, machine-ambiguous */
  get(machine: string): Promise<MachineView>
  /** @throws MusterError machine-not-found, request-invalid */
  patch(
    machine: string,
    change: { name?: string; labels?: Record<string, string | null> },
    by: string,
  ): Promise<MachineView>
  /** Deciding twice the same is no error. @throws MusterError machine-not-found, machine-changed */
  approve(machine: string, by: string, meant: Approval): Promise<MachineView>
  /** @throws MusterError machine-not-found */
  decide(machine: string, decision: 'quarantine' | 'retire', by: string): Promise<MachineView>
  /** Gone with its boots and events; its next hello makes a new record. */
  forget(machine: string, by: string): Promise<void>
  why(machine: string): Promise<WhyView>
  /** Newest first. */
  boots(machine: string, limit: number): Promise<BootView[]>
}

const params = z.object({ machine: z.string().min(1).max(128).describe('Id, node name, or MAC address') })
const listQuery = pageQuery.extend({
  enrolment: machine.shape.enrolment.optional(),
})

export function machineRoutes(machines: MachineDeciders) {
  const group = 'machines'
  const decide = (decision: 'quarantine' | 'retire', summary: string): AdminRoute =>
    route({
      summary,
      group,
      params,
      reply: machine,
      handle: ({ params, request }) => machines.decide(params.machine, decision, deciderOf(request)),
    })
  return {
    list: route({
      summary: 'Machines in the order of their ids',
      group,
      query: listQuery,
      reply: page(machine),
      async handle({ query }) {
        const { cursor, limit, ...filter } = query
        const found = await machines.list({
          ...defined(filter),
          ...(cursor === undefined ? {} : { after: cursor }),
          limit: limit + 1,
        })
        return toPage(found, limit, (last) => last.id)
      },
    }),
    get: route({
      summary: 'One machine',
      group,
      params,
      reply: machine,
      handle: ({ params }) => machines.get(params.machine),
    }),
    patch: route({
      summary: 'Rename, label',
      group,
      params,
      body: patch,
      reply: machine,
      handle: ({ params, body, request }) =>
        machines.patch(params.machine, defined(body), deciderOf(request)),
    }),
    approve: route({
      summary: 'Let it boot what its profile says',
      group,
      params,
      body: approval,
      reply: machine,
      handle: ({ params, body, request }) =>
        machines.approve(params.machine, deciderOf(request), defined(body ?? {})),
    }),
    quarantine: decide('quarantine', 'Keep it from booting anything until it is approved again'),
    retire: decide('retire', 'Out of service: it boots nothing, its record stays'),
    forget: route({
      summary: 'Remove its record, boots and events; wants its whole id, name or MAC address',
      group,
      params,
      async handle({ params, request }) {
        const found = await machines.get(params.machine)
        requireWhole(found, params.machine)
        await machines.forget(found.id, deciderOf(request))
        return undefined
      },
    }),
    why: route({
      summary: 'What it would boot now and why, and how far that can be trusted',
      group,
      params,
      reply: why,
      handle: ({ params }) => machines.why(params.machine),
    }),
    boots: route({
      summary: 'Its boots, newest first',
      group,
      params,
      query: pageQuery.pick({ limit: true }),
      reply: z.object({ items: z.array(boot) }),
      handle: async ({ params, query }) => ({ items: await machines.boots(params.machine, query.limit) }),
    }),
  }
}

/**
 * What cannot be undone takes no beginnings of names: said twice, `rack-1` would be gone and mean `rack-10`.
 * @throws MusterError machine-ambiguous
 */
function requireWhole({ id, name, macs }: MachineView, text: string): void {
  const digits = text.toLowerCase().replace(/[^0-9a-f]/g, '')
  if (text === id || text === name || macs.some((mac) => mac.replaceAll(':', '') === digits)) return
  throw new MusterError(
    'machine-ambiguous',
    `'${text}' is only the beginning of ${name}: to forget a machine, write its whole name or id.`,
  )
}

/** Who decided, for the record: everybody who may is the operator until there are accounts. */
function deciderOf(request: { raw: { socket: { remoteAddress?: string | undefined } } }): string {
  const { remoteAddress } = request.raw.socket
  return remoteAddress === undefined ? 'operator (local socket)' : `operator (${remoteAddress})`
}

/** Without members that are undefined, as exactOptionalPropertyTypes wants them. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as never
}
