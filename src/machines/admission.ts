/** How a hello becomes a machine and a boot, and how a newcomer is let in without a person. */
import { createHash } from 'node:crypto'
import { MusterError } from '../errors.ts'
import type { HelloRequest } from '../protocol/hello.ts'
import { isDuplicate, isMissingReference } from '../store/database.ts'
import type { MachineRow } from '../store/schema.ts'
import { type BootContext, findBootByHello, openBoot } from './boots.ts'
import type { NewEvent } from './events.ts'
import type { FirmwareActivity } from './firmware-activity.ts'
import { cleanIdentifiers, type Source, sourceOf } from './identifiers.ts'
import { findByMacs, newMachine, requireMacs, seenAgain } from './inventory.ts'
import { createId } from './names.ts'
import { matchProfile, type Profile } from './profiles.ts'
import { createRateLimiter, createSourceLimiter } from './rate.ts'
import { type Boot, type Machine, toBoot, toMachine } from './records.ts'
import type { EnrolmentPolicy } from './why.ts'

type Answer = { machine: Machine; boot: Boot }

export type Admission = {
  /** @throws limit-reached, request-invalid */
  hello(request: HelloRequest, from: { address: string; rawBytes: Uint8Array }): Promise<Answer>
  /** Approves a newcomer where mode `auto` may; false: nothing was changed. */
  letIn(machine: Machine): Promise<boolean>
  /** Ends the wait of a boot that was held for a conflict which is no more, because a person forgot the other record. */
  settle(boot: Boot): Promise<Boot>
}

export function createAdmission(options: {
  context: BootContext
  enrolment: EnrolmentPolicy
  listProfiles: () => Promise<Profile[]>
  random: (bytes: number) => Uint8Array
  firmware: Pick<FirmwareActivity, 'beginningOf'>
}): Admission {
  const { context, enrolment, firmware, listProfiles, random } = options
  const { database, timeline, limits, now } = context
  const rate = (perMinute: number) => ({ perMinute, keysMax: limits.rateKeysMax, now })
  const perAddress = createSourceLimiter(rate(limits.hellosPerMinutePerAddressMax))
  const perMachine = createSourceLimiter(rate(limits.hellosPerMinutePerMachineMax))
  const newcomers = createRateLimiter(rate(limits.newMachinesPerMinuteMax))

  /** What letting this newcomer in without a person changes; undefined: a person is asked first. */
  async function autoApproval(machine: Machine) {
    if (enrolment.mode !== 'auto' || machine.enrolment !== 'discovered') return undefined
    try {
      const match = matchProfile(machine, await listProfiles())
      if (match === undefined || !enrolment.isDemonstration(match.profile)) return undefined
    } catch (error) {
      // `eligibility` and `why` say it to who asks.
      if (error instanceof MusterError && error.code === 'profile-tie') return undefined
      throw error
    }
    const at = now()
    const row: Partial<MachineRow> = { enrolment: 'approved', decidedAt: at.getTime(), decidedBy: 'auto' }
    const event: NewEvent = {
      at,
      machineId: machine.id,
      kind: 'approved',
      assurance: 'server',
      message: 'approved automatically, for the demonstration only',
      data: { by: 'auto' },
    }
    // Whatever a person decided meanwhile stands.
    const query = database.db
      .updateTable('machines')
      .set(row)
      .where('id', '=', machine.id)
      .where('enrolment', '=', 'discovered')
    return { row, event, query }
  }

  async function admit(
    request: HelloRequest,
    from: { address: string; source: Source; helloDigest: string },
  ): Promise<Answer> {
    const { address, source, helloDigest } = from
    const at = now()
    const clean = cleanIdentifiers(request.identifiers)
    requireMacs(clean)
    const found = await findByMacs(database, clean)
    if (found === undefined) {
      if (!newcomers.take('')) throw limitReached('too many new machines at once', 'machines.newPerMinuteMax')
    } else {
      const existing = await findBootByHello(database, found.row.id, helloDigest)
      if (existing !== undefined) return { machine: toMachine(found.row, found.macs), boot: toBoot(existing) }
      const full = perMachine.exceededBy(source, found.row.id)
      if (full !== undefined)
        throw limitReached(
          `too many hellos of ${found.row.name} from ${full}`,
          'machines.hellosPerMinutePerMachineMax',
        )
    }
    const record =
      found === undefined
        ? newMachine(database, { id: createId('m', random), request, clean, source, at, limits })
        : seenAgain(database, { found, request, clean, at, limits })
    const opening = await openBoot(context, {
      id: createId('b', random),
      machineId: record.row.id,
      machineName: record.row.name,
      request,
      clean,
      helloDigest,
      address,
      machine: record.row,
      ...(found?.conflictsWith === undefined ? {} : { conflict: found.conflictsWith }),
    })
    const approval =
      opening.row.held === null ? await autoApproval(toMachine(record.row, record.macs)) : undefined
    const beginning = firmware.beginningOf({ ...opening.row, macs: clean.macs })
    await timeline.commit(
      [...record.queries, ...opening.queries, ...(approval === undefined ? [] : [approval.query])],
      [
        ...beginning.events,
        ...record.events,
        ...opening.events,
        ...(approval === undefined ? [] : [approval.event]),
      ],
      [...beginning.queries, ...opening.after],
    )
    beginning.kept()
    return { machine: toMachine({ ...record.row, ...approval?.row }, record.macs), boot: toBoot(opening.row) }
  }

  return {
    async hello(request, { address, rawBytes }) {
      const source = sourceOf(address)
      const full = perAddress.exceededBy(source)
      if (full !== undefined)
        throw limitReached(`too many hellos from ${full}`, 'machines.hellosPerMinutePerAddressMax')
      checkSessionKey(request.sessionKey)
      const helloDigest = createHash('sha256').update(rawBytes).digest('hex')
      for (let attempt = 1; ; attempt++) {
        try {
          return await admit(request, { address, source, helloDigest })
        } catch (error) {
          // Another hello with one of these addresses, or the same hello, came in between, or the record was forgotten.
          if (attempt === 3 || !(isDuplicate(error) || isMissingReference(error))) throw error
        }
      }
    },
    async letIn(machine) {
      const approval = await autoApproval(machine)
      if (approval === undefined) return false
      await timeline.commit([approval.query], [approval.event])
      return true
    },
    async settle(boot) {
      if (boot.held === undefined) return boot
      const found = await findByMacs(database, boot.hello)
      if (found?.row.id !== boot.machineId || found.conflictsWith !== undefined) return boot
      const event: NewEvent = {
        at: now(),
        machineId: boot.machineId,
        bootId: boot.id,
        kind: 'identity-settled',
        assurance: 'server',
        message: 'no other machine is known by what it says any more; this boot goes on',
        data: {},
      }
      const query = database.db.updateTable('boots').set({ held: null }).where('id', '=', boot.id)
      await timeline.commit([query], [event])
      const { held: _, ...free } = boot
      return free
    },
  }
}

function limitReached(what: string, setting: string): MusterError {
  return new MusterError('limit-reached', `${what}: try again in a minute, or raise ${setting}`, {
    details: { setting, retrySeconds: 60 },
  })
}

/** SPKI of Ed25519 is a fixed prefix and 32 bytes (RFC 8410 §4); no other key can open a session. */
function checkSessionKey(base64: string): void {
  const der = Buffer.from(base64, 'base64')
  if (der.length === 44 && der.subarray(0, 12).toString('hex') === '302a300506032b6570032100') return
  throw new MusterError(
    'request-invalid',
    'the hello carries no Ed25519 session key: expected 44 bytes of SPKI DER',
  )
}
