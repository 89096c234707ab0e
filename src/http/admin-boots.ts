/** Boots and events: what happened to machines, and what is happening now. */
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { page, pageQuery, toPage } from './admin-paging.ts'
import { route } from './admin-route.ts'
import { type StreamItem, sendStream } from './admin-stream.ts'

export const boot = z.object({
  id: z.string(),
  machineId: z.string(),
  openedAt: z.string(),
  lastSeenAt: z.string(),
  agentOrigin: z.string().describe('How the agent reached the machine: network, signed, flash or measured'),
  agentVersion: z.string(),
  arch: z.string(),
  address: z.string(),
  step: z.string(),
  held: z.string().optional().describe('Why it must wait whatever its profile says'),
  outcome: z.string().optional(),
  outcomeAt: z.string().optional(),
  plan: z
    .object({ target: z.string(), digest: z.string(), issuedAt: z.string(), because: z.array(z.string()) })
    .optional(),
})
export type BootView = z.output<typeof boot>

export const bootWithConsole = boot.extend({
  console: z.string().optional().describe('The last 64 KiB of a failed boot; written by the machine'),
})
export type BootWithConsole = z.output<typeof bootWithConsole>

export const event = z.object({
  id: z.number().int().describe('Rises; 0 for progress, which is shown live and not kept'),
  at: z.string(),
  machineId: z.string().optional(),
  machineName: z.string().optional().describe('Its node name now, not then'),
  bootId: z.string().optional(),
  kind: z.string(),
  assurance: z.string().describe('claimed, session or attested: how well it is known who said so'),
  message: z.string(),
  data: z.record(z.string(), z.unknown()),
})
export type EventView = z.output<typeof event>

export type EventFilter = { machineId?: string; bootId?: string }

export type BootDeciders = {
  /** @throws MusterError boot-not-found */
  get(boot: string): Promise<BootWithConsole>
}

export type EventDeciders = {
  /** Those after `after` in rising order. @throws MusterError machine-not-found when the filter names none */
  list(query: EventFilter & { after: number; limit: number }): Promise<EventView[]>
  /** The newest `limit`, in rising order. */
  latest(query: EventFilter & { limit: number }): Promise<EventView[]>
  /** The same events with the names of their machines: for those of `subscribe`. */
  named(events: readonly EventView[]): Promise<EventView[]>
  /** Each event from now on, after it is recorded; `progress` is not recorded. @returns what ends it */
  subscribe(listener: (event: EventView) => void): () => void
  /** The machine's id, from its id, node name or MAC. @throws MusterError machine-not-found */
  machineId(machine: string): Promise<string>
}

const eventQuery = z.object({
  machine: z.string().max(128).optional().describe('Only of this machine: id, node name or MAC'),
  boot: z.string().max(64).optional().describe('Only of this boot'),
})

const eventsAtOnce = 500
const progressQueuedMax = 64

export function bootRoutes(options: { boots: BootDeciders; events: EventDeciders; log: Log }) {
  const { boots, events, log } = options
  return {
    get: route({
      summary: 'One boot, with the console it left',
      group: 'boots',
      params: z.object({ boot: z.string().max(64) }),
      reply: bootWithConsole,
      handle: ({ params }) => boots.get(params.boot),
    }),
    events: route({
      summary: 'Events in rising order; without a cursor the newest page',
      group: 'events',
      query: eventQuery.extend(pageQuery.shape),
      reply: page(event),
      async handle({ query: { cursor, limit, ...given } }) {
        const filter = await toFilter(given)
        if (cursor === undefined) return { items: await events.latest({ ...filter, limit }) }
        const found = await events.list({ ...filter, after: toEventId(cursor), limit: limit + 1 })
        return toPage(found, limit, (last) => String(last.id))
      },
    }),
    watch: route({
      summary: 'Events while they happen: JSON lines, or server-sent events for `accept: text/event-stream`',
      group: 'events',
      query: eventQuery.extend({
        after: z.string().max(32).optional().describe('First what happened after this event'),
      }),
      async handle({ query: { after, ...given }, request, reply }) {
        const filter = await toFilter(given)
        const from = after ?? lastEventId(request)
        return sendStream(request, reply, (signal) => follow(filter, from, signal), log)
      },
    }),
  }

  async function toFilter(given: {
    machine?: string | undefined
    boot?: string | undefined
  }): Promise<EventFilter> {
    return {
      ...(given.machine === undefined ? {} : { machineId: await events.machineId(given.machine) }),
      ...(given.boot === undefined ? {} : { bootId: given.boot }),
    }
  }

  /**
   * An event that is kept is only the reason to look again: it is read from the record, in its order and with its id, so a
   * slow watcher costs no memory and nothing is sent twice or left out. Progress is not kept; a slow watcher misses some.
   */
  async function* follow(
    filter: EventFilter,
    from: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<StreamItem> {
    let news = true
    let wake = () => {}
    const progress: EventView[] = []
    const end = events.subscribe((one) => {
      if (one.id !== 0) news = true
      else if (isWanted(filter, one) && progress.length < progressQueuedMax) progress.push(one)
      wake()
    })
    signal.addEventListener('abort', () => wake(), { once: true })
    try {
      let last = from === undefined ? ((await events.latest({ limit: 1 })).at(-1)?.id ?? 0) : toEventId(from)
      while (!signal.aborted) {
        for (const one of await events.named(progress.splice(0))) yield { value: one }
        if (!news) {
          await new Promise<void>((resolve) => {
            wake = resolve
            if (signal.aborted || news || progress.length > 0) resolve()
          })
          continue
        }
        news = false
        const found = await events.list({ ...filter, after: last, limit: eventsAtOnce })
        if (found.length === eventsAtOnce) news = true
        for (const one of found) yield { id: one.id, value: one }
        last = found.at(-1)?.id ?? last
      }
    } finally {
      end()
    }
  }
}

function isWanted({ machineId, bootId }: EventFilter, one: EventView): boolean {
  return (
    (machineId === undefined || one.machineId === machineId) &&
    (bootId === undefined || one.bootId === bootId)
  )
}

function toEventId(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new MusterError(
    'request-invalid',
    `An event's id is a number, but '${text.slice(0, 32)}' was given as the place to go on from.`,
  )
}

/** A browser sends it when it connects again. */
function lastEventId(request: FastifyRequest): string | undefined {
  const id = request.headers['last-event-id']
  return typeof id === 'string' && id !== '' ? id : undefined
}
