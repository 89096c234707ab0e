/** That firmware was given what nobody signed belongs into the timeline: no agent is there to say so. */
import type { Timeline } from './events.ts'
import { createRateLimiter } from './rate.ts'
import type { Machine } from './records.ts'

export type UnverifiedBoot = { profile: string; files: readonly string[]; address: string }
export type RecordUnverified = (machine: Pick<Machine, 'id' | 'name'>, given: UnverifiedBoot) => Promise<void>

/**
 * Who asked is only claimed: anybody may send a MAC address by plain HTTP, so one event a minute and machine is kept.
 * @throws database-failed
 */
export function createUnverifiedRecorder(options: {
  timeline: Timeline
  rateKeysMax: number
  now: () => Date
}): RecordUnverified {
  const { now, rateKeysMax, timeline } = options
  const recorded = createRateLimiter({ perMinute: 1, keysMax: rateKeysMax, now })
  return async ({ id, name }, { profile, files, address }) => {
    if (!recorded.take(id)) return
    await timeline.commit(
      [],
      [
        {
          at: now(),
          machineId: id,
          kind: 'unverified',
          assurance: 'claimed',
          message: `the firmware of ${name} was given ${files.join(', ')} by profile '${profile}': nobody signed these files, and nothing checks them`,
          data: { profile, files, address },
        },
      ],
    )
  }
}
