/** All checks, in the order in which a boot needs what they check. None of them changes anything, and none of them throws. */
import type { Offer } from '../dhcp/probe.ts'
import { type Facts, unknown, type Verdict } from './check.ts'
import { checkClock } from './clock.ts'
import { checkDisks } from './disk.ts'
import { judgeHttp, measureHttp } from './http-port.ts'
import { judgeMetadata } from './metadata.ts'
import { checkMtu } from './mtu.ts'
import { judgeNextServer } from './next-server.ts'
import { judgeOtherDhcp } from './other-dhcp.ts'
import { judgePrepared } from './prepared.ts'
import { checkTftp } from './tftp-read.ts'

export type DoctorWorld = {
  /** Asks the segment as UEFI x64 firmware does. @throws MusterError with the reason why it could not */
  askDhcp(): Promise<Offer[]>
  fetch: typeof globalThis.fetch
  /** Milliseconds since 1970. */
  now: () => number
  /** How long TFTP may take to answer. */
  tftpWaitMs: number
}

export type Finding = { check: string; verdict: Verdict }

export async function examine(facts: Facts, world: DoctorWorld): Promise<Finding[]> {
  const { fetch, now, tftpWaitMs } = world
  const dhcp = world.askDhcp().then(
    (offers) => ({ offers }),
    (error: unknown) => ({ because: (error as Error).message }),
  )
  const byOffers = async (judge: (offers: readonly Offer[], facts: Facts) => Verdict) => {
    const asked = await dhcp
    return 'offers' in asked ? judge(asked.offers, facts) : unknown(asked.because)
  }
  const checks: [check: string, verdict: Promise<Verdict> | Verdict][] = [
    ['addresses', byOffers(judgeOtherDhcp)],
    ['next server', byOffers(judgeNextServer)],
    ['agent', judgePrepared(facts)],
    ['TFTP', checkTftp(facts, tftpWaitMs)],
    ['HTTP', measureHttp(facts, fetch).then(judgeHttp)],
    ['block size', checkMtu(facts)],
    ['clock', checkClock(facts, fetch, now)],
    ['metadata', judgeMetadata(facts, now())],
    ['disks', checkDisks(facts)],
  ]
  return Promise.all(checks.map(async ([check, verdict]) => ({ check, verdict: await verdict })))
}
