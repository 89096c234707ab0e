/** Is it up, is it ready, what is missing: for people, for load balancers, for Prometheus. */
import { z } from 'zod'
import type { Metrics } from './admin-metrics.ts'
import { type AdminRoute, route } from './admin-route.ts'

const count = z.number().int().min(0)

export const status = z.object({
  version: z.string(),
  startedAt: z.string(),
  /** False while something that a machine needs is missing or still being made. */
  ready: z.boolean(),
  data: z.string().describe('The data folder'),
  planes: z.array(
    z.object({
      name: z.string().describe('firmware, tftp, dhcp, agent, admin'),
      url: z.string().describe('One that can be opened, also where the plane listens on every address'),
      note: z.string().optional().describe('What is not as it should be; of dhcp, its mode'),
    }),
  ),
  advertise: z.string().optional().describe('Name or address that machines are told, where one is set'),
  dhcp: z.object({
    mode: z.enum(['off', 'proxy', 'server', 'auto']),
    now: z.enum(['proxy', 'server']).optional().describe('What mode auto does now'),
    addresses: z.array(z.string()).describe("The server's own, on the segments it answers on"),
  }),
  pin: z.string().optional().describe("The agent plane's public key, in curl's --pinnedpubkey form"),
  missing: z
    .array(
      z.object({
        what: z.string(),
        code: z.string().describe('`preparing`: it is being made'),
        reason: z.string(),
        older: z.boolean().optional().describe('One of an earlier start is there, and is served'),
      }),
    )
    .describe('What a machine would need and is not there, and the reason with its way out'),
  agents: z.array(
    z.object({
      arch: z.string(),
      hardware: z
        .string()
        .optional()
        .describe(
          'Whose drivers it has, as it lies on the disk: virtual or server; the setting may be another',
        ),
      kernelBytes: count,
      initramfsBytes: count,
      madeAt: z.string().optional(),
    }),
  ),
  repositories: z.array(
    z.object({
      name: z.string(),
      upstream: z
        .string()
        .optional()
        .describe('The URL that this server follows; left out when it signs itself'),
      syncFailure: z
        .object({ at: z.string(), code: z.string(), reason: z.string() })
        .optional()
        .describe('Why the last sync with upstream failed; left out after one that did not'),
      roles: z.array(
        z.object({
          role: z.string(),
          version: count,
          expires: z.string(),
          keyHere: z.boolean().describe('Whether this server holds the key, and so signs again by itself'),
        }),
      ),
    }),
  ),
  machines: z.record(z.string(), count).describe('How many by enrolment'),
  unknownFiles: count.describe('Names that firmware asked for and that are not there'),
})
export type Status = z.output<typeof status>

/** For a person: whether it is on its way, served as it was, or not there at all. */
export function missingLine({ code, older, reason, what }: Status['missing'][number]): string {
  if (code === 'preparing') return `BEING MADE: ${what}. ${reason}`
  if (older !== true) return `MISSING: ${what} (${code}). ${reason}`
  return `NOT RENEWED: ${what} (${code}). ${reason} The one of an earlier start is served.`
}

export type StatusDeciders = {
  status(): Promise<Status>
  /** False until everything that was to be prepared is there; cheap, asked every few seconds. */
  ready(): Promise<boolean>
}

export function statusRoutes(options: {
  status: StatusDeciders
  metrics: Metrics
}): Record<'status' | 'healthz' | 'readyz' | 'metrics', AdminRoute> {
  return {
    status: route({
      summary: 'Planes, addresses, what is missing, agents, expiries',
      group: 'server',
      reply: status,
      handle: () => options.status.status(),
    }),
    healthz: route({
      summary: 'Whether the process answers',
      group: 'server',
      access: 'public',
      reply: z.object({ status: z.literal('ok') }),
      handle: async () => ({ status: 'ok' as const }),
    }),
    readyz: route({
      summary: 'Whether machines can boot: 200, or 503 while something is missing',
      group: 'server',
      access: 'public',
      async handle({ reply }) {
        const ready = await options.status.ready()
        return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not ready' })
      },
    }),
    metrics: route({
      summary: 'Numbers for Prometheus; no token needed from this machine',
      group: 'server',
      access: 'loopback',
      async handle({ reply }) {
        const { contentType, text } = await options.metrics.expose(await options.status.status())
        return reply.type(contentType).send(text)
      },
    }),
  }
}
