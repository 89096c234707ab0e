/** Machines as people handle them: found by name, id or MAC address; decided on, named, labelled, forgotten. */
import { MusterError } from '../errors.ts'
import { didYouMean } from '../nearest.ts'
import { type Database, isDuplicate, isUnchanged, mustChange } from '../store/database.ts'
import type { MachineRow } from '../store/schema.ts'
import { checkMeant, claimFields, type Meant, machineChanged } from './claims.ts'
import { type EnrolmentAction, transition } from './enrolment.ts'
import type { NewEvent, Timeline } from './events.ts'
import { normaliseMac } from './identifiers.ts'
import { checkLabels, checkName } from './names.ts'
import { type Enrolment, type Labels, type Machine, toMachine } from './records.ts'

export type MachineQuery = { enrolment?: Enrolment; after?: string; limit?: number }

export type Directory = {
  /** By id. @throws machine-not-found */
  get(id: string): Promise<Machine>
  /** By id, node name, MAC address in any notation, or the beginning of an id or name. @throws machine-not-found, machine-ambiguous */
  find(nameOrIdOrMac: string): Promise<Machine>
  /** Ordered by id, after `after`, at most 1000. */
  list(query?: MachineQuery): Promise<Machine[]>
  count(): Promise<Record<Enrolment, number>>
  /**
   * `by`: who decides, for the record. Each finds its machine as `find` does. `meant`: what the person means by it, wanted
   * of what changed while nobody had decided.
   *
   * @returns it, with `claimsChanged` as it was until now.
   * @throws machine-changed when it says other things than these, or they changed and were not named
   */
  approve(machine: string, by: string, meant?: Meant): Promise<Machine>
  quarantine(machine: string, by: string): Promise<Machine>
  retire(machine: string, by: string): Promise<Machine>
  /** Removes it with its boots and events; its next hello finds it new. */
  forget(machine: string, by: string): Promise<Machine>
  /** Sets labels, or removes one by null. @throws request-invalid */
  label(machine: string, changes: Readonly<Record<string, string | null>>, by: string): Promise<Machine>
  /** @throws request-invalid when the name is taken or no DNS-1123 label */
  rename(machine: string, name: string, by: string): Promise<Machine>
}

export function createDirectory(options: {
  database: Database
  timeline: Timeline
  now: () => Date
}): Directory {
  const { database, timeline, now } = options
  const { db } = database

  async function withMacs(rows: MachineRow[]): Promise<Machine[]> {
    if (rows.length === 0) return []
    const ids = rows.map((row) => row.id)
    const macs = await db
      .selectFrom('machineMacs')
      .selectAll()
      .where('machineId', 'in', ids)
      .orderBy('mac')
      .execute()
    const byMachine = Map.groupBy(macs, (row) => row.machineId)
    return rows.map((row) =>
      toMachine(
        row,
        (byMachine.get(row.id) ?? []).map(({ mac }) => mac),
      ),
    )
  }

  async function get(id: string): Promise<Machine> {
    const [machine] = await withMacs(
      await db.selectFrom('machines').selectAll().where('id', '=', id).execute(),
    )
    return machine ?? notFound(id)
  }

  /** For "did you mean": the last seen ones of a large fleet, because a slip is of a name that somebody has before his eyes. */
  async function namesNear(): Promise<string[]> {
    const rows = await db
      .selectFrom('machines')
      .select('name')
      .orderBy('lastSeenAt', 'desc')
      .limit(1000)
      .execute()
    return rows.map(({ name }) => name)
  }

  async function find(text: string): Promise<Machine> {
    const mac = normaliseMac(text)
    if (mac !== undefined) {
      const row = await db
        .selectFrom('machineMacs')
        .select('machineId')
        .where('mac', '=', mac)
        .executeTakeFirst()
      if (row !== undefined) return get(row.machineId)
    }
    // Also what makes LIKE safe below: none of its wildcards is in here.
    if (!/^[a-z0-9-]{1,63}$/.test(text)) return notFound(text, await namesNear())
    const exact = await db
      .selectFrom('machines')
      .selectAll()
      .where((row) => row.or([row('id', '=', text), row('name', '=', text)]))
      .execute()
    const rows =
      exact.length > 0
        ? exact
        : await db
            .selectFrom('machines')
            .selectAll()
            .where((row) => row.or([row('id', 'like', `${text}%`), row('name', 'like', `${text}%`)]))
            .orderBy('id')
            .limit(4)
            .execute()
    if (rows.length === 0) return notFound(text, await namesNear())
    if (rows.length > 1) {
      const names = rows.slice(0, 3).map((row) => row.name)
      const more = rows.length > 3 ? ', …' : ''
      throw new MusterError(
        'machine-ambiguous',
        `'${text}' may be ${names.join(', ')}${more}: write more of the name, or the whole id`,
        { details: { names } },
      )
    }
    return (await withMacs(rows))[0] as Machine
  }

  async function change(
    machine: Machine,
    row: Partial<MachineRow>,
    event: Pick<NewEvent, 'kind' | 'message' | 'data'>,
  ): Promise<Machine> {
    await timeline.commit(
      [db.updateTable('machines').set(row).where('id', '=', machine.id)],
      [{ at: now(), machineId: machine.id, assurance: 'server', ...event }],
    )
    return get(machine.id)
  }

  async function decide(text: string, action: EnrolmentAction, by: string): Promise<Machine> {
    const machine = await find(text)
    const enrolment = transition(machine.enrolment, action)
    return change(machine, decision(enrolment, by), decided(enrolment, by))
  }

  const decision = (enrolment: Enrolment, by: string) => ({
    enrolment,
    decidedAt: now().getTime(),
    decidedBy: by,
    evictable: 0,
  })
  const decided = (enrolment: Enrolment, by: string) => ({
    kind: enrolment,
    message: `${enrolment} by ${by}`,
    data: { by },
  })

  async function approve(text: string, by: string, meant: Meant = {}): Promise<Machine> {
    const machine = await find(text)
    const enrolment = transition(machine.enrolment, 'approve')
    checkMeant(machine, meant)
    // Hellos go on meanwhile: what was read above is what is approved, or nothing is.
    let query = db
      .updateTable('machines')
      .set({ ...decision(enrolment, by), macsChangedAt: null, claimsChanged: null })
      .where('id', '=', machine.id)
      .where('macsChangedAt', 'is not distinct from', msOf(machine.macsChangedAt))
    for (const field of claimFields)
      query = query.where(field, 'is not distinct from', machine[field] ?? null)
    try {
      await timeline.commit(
        [mustChange(query)],
        [{ at: now(), machineId: machine.id, assurance: 'server', ...decided(enrolment, by) }],
      )
    } catch (error) {
      if (!isUnchanged(error)) throw error
      throw machineChanged(await get(machine.id), meant, machine)
    }
    // What it said anew is told once more to who approved it: it was not asked about.
    const { claimsChanged } = machine
    return { ...(await get(machine.id)), ...(claimsChanged === undefined ? {} : { claimsChanged }) }
  }

  return {
    get,
    find,
    async list({ enrolment, after, limit = 200 } = {}) {
      let query = db
        .selectFrom('machines')
        .selectAll()
        .orderBy('id')
        .limit(Math.min(Math.max(limit, 1), 1000))
      if (enrolment !== undefined) query = query.where('enrolment', '=', enrolment)
      if (after !== undefined) query = query.where('id', '>', after)
      return withMacs(await query.execute())
    },
    async count() {
      const rows = await db
        .selectFrom('machines')
        .select(['enrolment', db.fn.countAll<number>().as('count')])
        .groupBy('enrolment')
        .execute()
      const counts: Record<Enrolment, number> = { discovered: 0, approved: 0, quarantined: 0, retired: 0 }
      for (const row of rows) counts[row.enrolment as Enrolment] = Number(row.count)
      return counts
    },
    approve,
    quarantine: (machine, by) => decide(machine, 'quarantine', by),
    retire: (machine, by) => decide(machine, 'retire', by),
    async forget(text, by) {
      const machine = await find(text)
      const { id, name, macs } = machine
      await timeline.commit(
        [db.deleteFrom('machines').where('id', '=', id)],
        [
          {
            at: now(),
            kind: 'forgotten',
            assurance: 'server',
            message: `${name} was forgotten by ${by}`,
            data: { id, name, macs, by },
          },
        ],
      )
      return machine
    },
    async label(text, changes, by) {
      const machine = await find(text)
      const merged: Record<string, string | null> = { ...machine.labels, ...changes }
      const kept = Object.entries(merged).filter((entry): entry is [string, string] => entry[1] !== null)
      const labels: Labels = checkLabels(Object.fromEntries(kept))
      const message = `labels changed by ${by}: ${changesText(changes)}`
      return change(
        machine,
        { labels: JSON.stringify(labels) },
        { kind: 'labelled', message, data: { changes, by } },
      )
    },
    async rename(text, name, by) {
      const machine = await find(text)
      checkName(name, machine.id)
      if (name === machine.name) return machine
      const message = `${machine.name} is now called ${name}, by ${by}`
      try {
        return await change(
          machine,
          { name },
          { kind: 'renamed', message, data: { from: machine.name, to: name, by } },
        )
      } catch (error) {
        if (!isDuplicate(error)) throw error
        throw new MusterError(
          'request-invalid',
          `another machine is called '${name}': names are unique, so choose another one`,
          {
            cause: error,
          },
        )
      }
    },
  }
}

/** Values have no control characters (names.ts); long ones stand whole in the event's data. */
function changesText(changes: Readonly<Record<string, string | null>>): string {
  const one = ([name, value]: [string, string | null]) =>
    value === null ? `${name} removed` : `${name}=${value.length > 64 ? `${value.slice(0, 64)}…` : value}`
  return Object.entries(changes).map(one).join(', ')
}

const msOf = (time: string | undefined) => (time === undefined ? null : Date.parse(time))

function notFound(text: string, known: readonly string[] = []): never {
  const meant = didYouMean(text, known)
  throw new MusterError(
    'machine-not-found',
    `there is no machine '${text.slice(0, 80)}'${meant === '' ? ': ' : `${meant} `}'muster machines' lists those that said hello`,
  )
}
