/**
 * What firmware did before an agent said hello: DHCP, TFTP and the first scripts tell it here, by MAC address. It is a claim, as
 * everything on those protocols.
 *
 * Of a machine that is known it becomes an event at once, so that a machine which never gets further shows how far it came. All of
 * it is remembered for a while, bounded, and the boot that a hello opens gets it as its beginning.
 */
import type { Compilable } from 'kysely'
import type { Log } from '../log.ts'
import type { Database } from '../store/database.ts'
import type { NewEvent, Timeline } from './events.ts'
import { createFirmwareAddresses } from './firmware-addresses.ts'
import { normaliseMac } from './identifiers.ts'
import type { MachineLimits } from './limits.ts'
import { createRateLimiter } from './rate.ts'
import { type ExpectedMs, type FirmwareStep, findStall, type StallFacts, stallSentence } from './stalled.ts'

export type FirmwareNote = {
  /** Without it, `address` has to say whose this is. */
  mac?: string | undefined
  address?: string | undefined
  /** `file`: something that belongs to no step. */
  step: FirmwareStep | 'file'
  /** Nothing more is expected of this machine: it was told to go on, or was given what never says hello. */
  final?: boolean
  over?: 'tftp' | 'http'
  /** One sentence. Attacker-controlled text in it is cut and made printable like any event's. */
  message: string
  data?: Readonly<Record<string, unknown>>
}

export type FirmwareActivity = {
  /** Costs nothing worth waiting for, and never fails: a DHCP reply does not wait for a timeline. */
  note(note: FirmwareNote): void
  /** Only tells that this address is of this machine. */
  learn(address: string, mac: string): void
  /** Says of machines that got stuck before any agent said hello, once for each step. @returns how many */
  sweepStalled(options: { expectedMs: ExpectedMs; facts: StallFacts }): Promise<number>
  /** What is remembered of these addresses, as the beginning of a boot. */
  beginningOf(boot: { id: string; machineId: string; macs: readonly string[] }): {
    events: NewEvent[]
    queries: Compilable[]
    /** Call it when that is kept: until then nothing is forgotten. */
    kept(): void
  }
}

/** Of one MAC address. `stalls`: steps that were said to be stuck. */
type Trail = { notes: Remembered[]; stalls: Set<string> }
type Remembered = FirmwareNote & { mac: string; at: Date; isEvent: boolean }

/** The same thing again within this time is a repetition: a ROM that got no answer asks every few seconds. */
const repetitionMs = 60_000

export function createFirmwareActivity(options: {
  database: Database
  timeline: Timeline
  limits: Pick<
    MachineLimits,
    'firmwareMacsMax' | 'firmwareNotesPerMacMax' | 'firmwareWithinMs' | 'rateKeysMax'
  >
  now: () => Date
  log: Log
}): FirmwareActivity {
  const { database, limits, log, now, timeline } = options
  const { db } = database
  /** In the order of the last note, so that the first is the one to forget. */
  const byMac = new Map<string, Trail>()
  // Invented addresses must cost the database little; what is not looked up is remembered all the same.
  const lookups = createRateLimiter({ perMinute: 1200, keysMax: 1, now })
  const eventsOfMac = createRateLimiter({ perMinute: 12, keysMax: limits.rateKeysMax, now })
  const stallSaid = createRateLimiter({ perMinute: 60, keysMax: 1, now })
  const addresses = createFirmwareAddresses<FirmwareNote & { at: Date }>({
    addressesMax: limits.firmwareMacsMax,
    notesMax: limits.firmwareNotesPerMacMax,
    withinMs: limits.firmwareWithinMs,
    now,
  })

  /** A silence longer than a boot takes ends a trail: what comes then is another boot. */
  function trailOf(mac: string, at: Date): Trail {
    const known = byMac.get(mac)
    const lastMs = known?.notes.at(-1)?.at.getTime() ?? 0
    if (known === undefined || at.getTime() - lastMs > limits.firmwareWithinMs)
      return { notes: [], stalls: new Set() }
    return known
  }

  function remember(note: Remembered): boolean {
    const { notes, stalls } = trailOf(note.mac, note.at)
    const sinceMs = note.at.getTime() - repetitionMs
    if (notes.some(({ at, message }) => message === note.message && at.getTime() > sinceMs)) return false
    byMac.delete(note.mac)
    byMac.set(note.mac, { notes: [...notes, note].slice(-limits.firmwareNotesPerMacMax), stalls })
    if (byMac.size > limits.firmwareMacsMax) byMac.delete(byMac.keys().next().value as string)
    return true
  }

  async function machineOf(mac: string): Promise<string | undefined> {
    const query = db.selectFrom('machineMacs').select('machineId').where('mac', '=', mac)
    return (await query.executeTakeFirst())?.machineId
  }

  async function tell(note: Remembered): Promise<void> {
    const machineId = await machineOf(note.mac)
    if (machineId === undefined) return
    note.isEvent = true
    await timeline.commit([], [toEvent(note, { machineId })])
  }

  function keep(note: FirmwareNote & { mac: string; at: Date }): void {
    const remembered: Remembered = { ...note, isEvent: false }
    if (!remember(remembered) || !eventsOfMac.take(note.mac) || !lookups.take('')) return
    tell(remembered).catch((error: unknown) => {
      log.warn({ err: error, mac: note.mac }, 'what firmware did could not be kept')
    })
  }

  function learn(address: string, mac: string): void {
    for (const held of addresses.learn(address, mac)) keep({ ...held, mac })
  }

  return {
    learn(address, text) {
      const mac = normaliseMac(text)
      if (mac !== undefined) learn(address, mac)
    },
    note(note) {
      const { address } = note
      const said = normaliseMac(note.mac ?? '')
      if (said !== undefined && address !== undefined) learn(address, said)
      const mac = said ?? (address === undefined ? undefined : addresses.macOf(address))
      if (mac !== undefined) keep({ ...note, mac, at: now() })
      else if (address !== undefined) addresses.hold(address, { ...note, at: now() })
    },
    async sweepStalled(options) {
      const at = now()
      const events: NewEvent[] = []
      for (const [mac, { notes, stalls }] of byMac) {
        const stall = stallOf(notes, { ...options, at })
        if (stall === undefined || stalls.has(stall.step) || !stallSaid.take('')) continue
        stalls.add(stall.step)
        const machineId = await machineOf(mac)
        events.push({
          at,
          ...(machineId === undefined ? {} : { machineId }),
          kind: 'stalled',
          assurance: 'claimed',
          message: `${mac}: ${stallSentence(stall)}`,
          data: { ...stall, mac },
        })
      }
      if (events.length > 0) await timeline.commit([], events)
      return events.length
    },
    beginningOf({ id, machineId, macs }) {
      const since = now().getTime() - limits.firmwareWithinMs
      const notes = macs
        .flatMap((mac) => byMac.get(mac)?.notes ?? [])
        .filter(({ at }) => at.getTime() >= since)
        .sort((one, other) => one.at.getTime() - other.at.getTime())
      const fresh = notes.filter(({ isEvent }) => !isEvent)
      return {
        events: fresh.map((note) => toEvent(note, { machineId, bootId: id })),
        queries: fresh.length === notes.length ? [] : adopt(id, machineId, since),
        kept() {
          for (const mac of macs) byMac.delete(mac)
        },
      }
    },
  }

  /** Events that stand under the machine alone until now belong to this boot. */
  function adopt(bootId: string, machineId: string, since: number): Compilable[] {
    return [
      db
        .updateTable('events')
        .set({ bootId })
        .where('machineId', '=', machineId)
        .where('bootId', 'is', null)
        .where('kind', '=', 'firmware')
        .where('at', '>=', since),
      db
        .updateTable('boots')
        .set((row) => ({
          eventCount: row
            .selectFrom('events')
            .select((event) => event.fn.countAll<number>().as('count'))
            .where('events.bootId', '=', bootId),
        }))
        .where('id', '=', bootId),
    ]
  }
}

/** Nothing, where the last word says that no more is to come. */
function stallOf(
  notes: readonly Remembered[],
  { at, expectedMs, facts }: { at: Date; expectedMs: ExpectedMs; facts: StallFacts },
) {
  if (notes.at(-1)?.final === true) return undefined
  const heard = notes.flatMap(({ at: noted, over, step }) =>
    step === 'file' ? [] : [{ step, atMs: noted.getTime(), ...(over === undefined ? {} : { over }) }],
  )
  return findStall(heard, expectedMs, facts, at.getTime())
}

function toEvent(
  { at, data, mac, message, step }: Remembered,
  of: { machineId: string; bootId?: string },
): NewEvent {
  return { at, ...of, kind: 'firmware', assurance: 'claimed', message, data: { ...data, step, mac } }
}
