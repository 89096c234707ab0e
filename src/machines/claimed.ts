/**
 * The record that fits what firmware says of itself. A MAC address has one record at most; a UUID or serial number finds one only
 * when no other machine says the same, because whole product lines share them.
 */
import { errorCodeOf } from '../errors.ts'
import type { Database } from '../store/database.ts'

/** Normalised (identifiers.ts); a serial number may be the last 8 hexadecimal digits that a Raspberry Pi asks with. */
export type ClaimedIdentity = { mac?: string; uuid?: string; serial?: string }

/** @returns the id of a machine, or undefined where none fits or more than one does. */
export async function findClaimedId(
  database: Database,
  { mac, uuid, serial }: ClaimedIdentity,
): Promise<string | undefined> {
  const { db } = database
  const owner = (address: string) =>
    db.selectFrom('machineMacs').select('machineId').where('mac', '=', address).executeTakeFirst()
  if (mac !== undefined) {
    const found = await owner(mac)
    if (found !== undefined) return found.machineId
  }
  if (uuid !== undefined) {
    const found = await db.selectFrom('machines').select('id').where('uuid', '=', uuid).limit(2).execute()
    if (found.length === 1) return found[0]?.id
  }
  if (serial === undefined) return undefined
  const exact = await db.selectFrom('machines').select('id').where('serial', '=', serial).limit(2).execute()
  if (exact.length === 1) return exact[0]?.id
  if (exact.length > 1 || !/^[0-9a-f]{8}$/.test(serial)) return undefined
  return findRaspberryPi(serial)

  /**
   * Linux says all 64 bits of a Pi's serial number (/proc/device-tree/serial-number), its boot loader the last 32. A Pi 3 makes
   * its MAC address of the last 24, which a Pi 4 does not (rpi-eeprom, "Raspberry Pi4 network boot").
   */
  async function findRaspberryPi(ending: string): Promise<string | undefined> {
    const found = await db
      .selectFrom('machines')
      .select('id')
      .where('serial', 'like', `________${ending}`)
      .limit(2)
      .execute()
    if (found.length > 0) return found.length === 1 ? found[0]?.id : undefined
    const derived = `b8:27:eb:${ending.slice(2).replace(/(..)(..)(..)/, '$1:$2:$3')}`
    return (await owner(derived))?.machineId
  }
}

/** A machine that is gone is no failure; anything else is, and must not look like a new machine. */
export async function unlessForgotten<Found>(finding: Promise<Found>): Promise<Found | undefined> {
  try {
    return await finding
  } catch (error) {
    if (errorCodeOf(error) === 'machine-not-found') return undefined
    throw error
  }
}
