/** What a list of many machines and their events says beside each, asked for all of them at once. */

import type { Arch } from '../protocol/identifiers.ts'
import type { Database } from '../store/database.ts'
import type { Profile } from './profiles.ts'
import type { Boot, Machine } from './records.ts'
import { type EnrolmentPolicy, type Explanation, eligibilityOrError, type Said, saidBy } from './why.ts'

/** As `why` says it; `conflictWith`: name (or, where it is forgotten, id) of the machine that its last boot is confused with. */
export type Standing = Pick<Explanation, 'eligibility' | 'said'> & { conflictWith?: string }

export type Listing = {
  /** By id, what each of these would boot now. */
  standings(machines: readonly Machine[]): Promise<Map<string, Standing>>
  /** By id, the node names of those of these machines that there are. At most 1000. */
  namesOf(ids: readonly string[]): Promise<Map<string, string>>
}

export function createListing(options: {
  database: Database
  listProfiles(): Promise<Profile[]>
  enrolment: EnrolmentPolicy
}): Listing {
  const { enrolment, listProfiles } = options
  const { db } = options.database

  async function namesOf(ids: readonly string[]): Promise<Map<string, string>> {
    if (ids.length === 0) return new Map()
    const rows = await db
      .selectFrom('machines')
      .select(['id', 'name'])
      .where('id', 'in', [...new Set(ids)])
      .execute()
    return new Map(rows.map(({ id, name }) => [id, name]))
  }

  /** Of these machines, those whose last boot is held; few, if any. */
  async function heldBoots(machines: readonly Machine[]): Promise<Map<string, string>> {
    const held = new Map<string, string>()
    if (machines.length === 0) return held
    const ids = machines.map(({ id }) => id)
    const some = await db
      .selectFrom('boots')
      .select('machineId')
      .distinct()
      .where('machineId', 'in', ids)
      .where('held', 'is not', null)
      .execute()
    for (const { machineId } of some) {
      const last = await db
        .selectFrom('boots')
        .select(['id', 'held'])
        .where('machineId', '=', machineId)
        .orderBy('openedAt', 'desc')
        .orderBy('id')
        .limit(1)
        .executeTakeFirst()
      if (last?.held != null) held.set(machineId, last.id)
    }
    return held
  }

  /** By id, what the last hello of each of these said. */
  async function lastSaid(machines: readonly Machine[]): Promise<Map<string, Said>> {
    if (machines.length === 0) return new Map()
    const ids = machines.map(({ id }) => id)
    const rows = await db
      .selectFrom('boots')
      .innerJoin(
        (from) =>
          from
            .selectFrom('boots')
            .select((row) => ['machineId as ofMachine', row.fn.max('openedAt').as('lastAt')])
            .where('machineId', 'in', ids)
            .groupBy('machineId')
            .as('last'),
        (join) =>
          join.onRef('last.ofMachine', '=', 'boots.machineId').onRef('last.lastAt', '=', 'boots.openedAt'),
      )
      .select(['boots.machineId', 'boots.agentVersion', 'boots.arch', 'boots.hello'])
      // Of two in one millisecond the one that `why` takes, by being written last.
      .orderBy('boots.id', 'desc')
      .execute()
    return new Map(
      rows.map(({ agentVersion, arch, hello, machineId }) => [
        machineId,
        saidBy({ agentVersion, arch: arch as Arch, hello: JSON.parse(hello) as Boot['hello'] }),
      ]),
    )
  }

  /** The id of the other machine, by what the opening of this boot said. */
  async function otherOf(bootId: string): Promise<string | undefined> {
    const event = await db
      .selectFrom('events')
      .select('data')
      .where('bootId', '=', bootId)
      .where('kind', '=', 'identity-conflict')
      .executeTakeFirst()
    return event === undefined ? undefined : (JSON.parse(event.data) as { other?: string }).other
  }

  async function conflictOf(bootId: string): Promise<Pick<Standing, 'conflictWith'>> {
    const other = await otherOf(bootId)
    if (other === undefined) return {}
    return { conflictWith: (await namesOf([other])).get(other) ?? other }
  }

  return {
    namesOf,
    async standings(machines) {
      const profiles = await listProfiles()
      const [held, said] = [await heldBoots(machines), await lastSaid(machines)]
      const standings = new Map<string, Standing>()
      for (const machine of machines) {
        const bootId = held.get(machine.id)
        const boot = bootId === undefined ? undefined : ({ held: 'identity-conflict' } as const)
        const saidLast = said.get(machine.id)
        standings.set(machine.id, {
          eligibility: eligibilityOrError(machine, boot, profiles, enrolment),
          ...(saidLast === undefined ? {} : { said: saidLast }),
          ...(bootId === undefined ? {} : await conflictOf(bootId)),
        })
      }
      return standings
    },
  }
}
