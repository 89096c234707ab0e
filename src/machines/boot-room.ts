/**
 * Which boots of a machine give way to one that just said hello. Anybody can say hello with its MAC address, so:
 *
 *   - A boot that was given a plan and may still report gives way to nobody who comes later, one for each address: a machine that
 *     starts again has left its last boot. Of a /64, which one host can have as many addresses of as it likes, `sharesOfNetwork`.
 *   - Of the others, whoever never signed anything goes first, then who has the most boots from one address, then the longest silent.
 *   - Where all that are kept are such boots from elsewhere, the newcomer is refused: else so many addresses would do to
 *     erase a boot whose operating system is coming up.
 */
import { type Compilable, sql } from 'kysely'
import { MusterError } from '../errors.ts'
import type { Database } from '../store/database.ts'
import type { MachineRow } from '../store/schema.ts'
import { sharesOfNetwork, sourceOf } from './identifiers.ts'
import type { MachineLimits } from './limits.ts'
import { bootsMaxOf } from './undecided.ts'

type Newcomer = { id: string; address: string; machine: Pick<MachineRow, 'id' | 'name' | 'enrolment'> }

/**
 * @returns what makes room for this boot, once it is there.
 * @throws limit-reached (details.retrySeconds) where none of the others gives way.
 */
export async function makeRoomFor(
  { id, address, machine }: Newcomer,
  options: { database: Database; limits: MachineLimits; at: Date },
): Promise<Compilable> {
  const { database, limits } = options
  const max = bootsMaxOf(machine, limits)
  const atWork = await bootsAtWork(machine.id, options)
  const { host } = sourceOf(address)
  const elsewhere = atWork.filter((boot) => sourceOf(boot.address).host !== host)
  if (elsewhere.length >= max) throw allAtWork(machine.name, max)
  const staying = (atWork.length >= max ? elsewhere : atWork).map((boot) => boot.id)
  const overflow = database.db
    .selectFrom('boots')
    .select('id')
    .where('machineId', '=', machine.id)
    .where('id', 'not in', [id, ...staying])
    .orderBy((row) => row.case().when('sequence', '>', 0).then(0).else(1).end())
    .orderBy(sql`row_number() over (partition by address order by sequence > 0 desc, "lastSeenAt" desc)`)
    .orderBy('lastSeenAt', 'desc')
    .limit(1000)
    .offset(Math.max(0, max - 1 - staying.length))
  return database.db.deleteFrom('boots').where('id', 'in', overflow)
}

/** Those that give way to nobody: the newest of each address, and of a /64 the first `sharesOfNetwork`. */
async function bootsAtWork(
  machineId: string,
  { database, limits, at }: { database: Database; limits: MachineLimits; at: Date },
): Promise<{ id: string; address: string }[]> {
  const rows = await database.db
    .selectFrom('boots')
    .select(['id', 'address'])
    .where('machineId', '=', machineId)
    .where('plan', 'is not', null)
    .where('lastSeenAt', '>', at.getTime() - limits.reportWithinMs)
    // Silence is no end while an operating system comes up: the sweep calls it abandoned, and its report still counts.
    .where((row) =>
      row.or([
        row('outcome', 'is', null),
        row.and([row('outcome', '=', 'abandoned'), row('step', '=', 'kexec')]),
      ]),
    )
    .orderBy('openedAt')
    .orderBy('id')
    .execute()
  const newestByHost = new Map(rows.map((row) => [sourceOf(row.address).host, row.id]))
  const networks = new Map<string, number>()
  return rows.filter(({ id, address }) => {
    const { host, network } = sourceOf(address)
    if (newestByHost.get(host) !== id) return false
    if (network === undefined) return true
    const count = (networks.get(network) ?? 0) + 1
    networks.set(network, count)
    return count <= sharesOfNetwork
  })
}

function allAtWork(name: string, max: number): MusterError {
  return new MusterError(
    'limit-reached',
    `${max} boots of ${name} are at work, each from another address, and none gives way to one more: 'muster machine boots ${name}' shows them. A machine has not that many at once: see who speaks for it ('muster events --machine ${name}'), or raise machines.bootsMax`,
    { details: { setting: 'machines.bootsMax', retrySeconds: 60 } },
  )
}
