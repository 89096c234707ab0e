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
import { normaliseMac } from './identifiers.ts'
import type { MachineLimits } from './limits.ts'
import { createRateLimiter } from './rate.ts'

export type FirmwareStep = 'dhcp' | 'tftp' | 'script'

export type FirmwareNote = {
  mac: string
  step: FirmwareStep
  /** One sentence. Attacker-controlled text in it is cut and made printable like any event's. */
  message: string
  data?: Readonly<Record<string, unknown>>
}

export type FirmwareActivity = {
  /** Costs nothing worth waiting for, and never fails: a DHCP reply does not wait for a timeline. */
  note(note: FirmwareNote): void
  /** What is remembered of these addresses, as the beginning of a boot. */
  beginningOf(boot: { id: string; machineId: string; macs: readonly string[] }): {
    events: NewEvent[]
    queries: Compilable[]
    /** Call it when that is kept: until then nothing is forgotten. */
    kept(): void
  }
}

type Remembered = FirmwareNote & { at: Date; isEvent: boolean }

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
  const byMac = new Map<string, Remembered[]>()
  // Invented addresses must cost the database little; what is not looked up is remembered all the same.
  const lookups = createRateLimiter({ perMinute: 1200, keysMax: 1, now })
  const eventsOfMac = createRateLimiter({ perMinute: 12, keysMax: limits.rateKeysMax, now })

  function remember(note: Remembered): boolean {
    const known = byMac.get(note.mac) ?? []
    const sinceMs = note.at.getTime() - repetitionMs
    if (known.some(({ at, message }) => message === note.message && at.getTime() > sinceMs)) return false
    byMac.delete(note.mac)
    byMac.set(note.mac, [...known, note].slice(-limits.firmwareNotesPerMacMax))
    if (byMac.size > limits.firmwareMacsMax) byMac.delete(byMac.keys().next().value as string)
    return true
  }

  async function tell(note: Remembered): Promise<void> {
    const row = await db
      .selectFrom('machineMacs')
      .select('machineId')
      .where('mac', '=', note.mac)
      .executeTakeFirst()
    if (row === undefined) return
    note.isEvent = true
    await timeline.commit([], [toEvent(note, { machineId: row.machineId })])
  }

  return {
    note(note) {
      const mac = normaliseMac(note.mac)
      if (mac === undefined) return
      const remembered: Remembered = { ...note, mac, at: now(), isEvent: false }
      if (!remember(remembered) || !eventsOfMac.take(mac) || !lookups.take('')) return
      tell(remembered).catch((error: unknown) => {
        log.warn({ err: error, mac }, 'what firmware did could not be kept')
      })
    },
    beginningOf({ id, machineId, macs }) {
      const since = now().getTime() - limits.firmwareWithinMs
      const notes = macs
        .flatMap((mac) => byMac.get(mac) ?? [])
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

function toEvent(
  { at, data, mac, message, step }: Remembered,
  of: { machineId: string; bootId?: string },
): NewEvent {
  return { at, ...of, kind: 'firmware', assurance: 'claimed', message, data: { ...data, step, mac } }
}
