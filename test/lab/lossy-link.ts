/**
 * A cable that loses frames, between the server's bridge and a bridge of the machine's own: 5 of 100 by chance in each direction,
 * whatever they carry (ARP, DHCP, TFTP, TCP). netem does it where the kernel has it; else nftables, which throws the same dice.
 */
import { execFileSync } from 'node:child_process'
import { tool } from '../support/tools.ts'
import { addBridge, required, runIp } from './network.ts'

export type LossyLink = {
  /** Which part of the kernel loses them. */
  by: 'netem' | 'nftables'
  /** Until now. */
  counts(): { toMachine: Frames; fromMachine: Frames }
}
/** `sent` has the lost ones among it. */
export type Frames = { sent: number; lost: number }

/** Ends of the cable: a frame that leaves one comes in at the other. */
const [serverEnd, machineEnd] = ['cable0', 'cable1']

/** Puts `tap` behind the cable. @throws Error when the kernel has no netem and there is no nft */
export function addLossyLink(tap: string, percent: number): LossyLink {
  runIp(`link add ${serverEnd} type veth peer name ${machineEnd}`)
  // One frame is one packet: TCP would give a veth 64 KiB at a time, and losing that is another weather.
  for (const name of [serverEnd, machineEnd, 'br0']) runIp(`link set ${name} gso_max_segs 1`)
  addBridge('br1', [tap, machineEnd])
  runIp(`link set ${serverEnd} master br0`)
  for (const name of [serverEnd, machineEnd]) runIp(`link set ${name} up`)
  return loseByNetem(percent) ?? loseByNftables(percent)
}

/** What an end sends. Undefined where the kernel has no netem, built in or to load. */
function loseByNetem(percent: number): LossyLink | undefined {
  const tc = tool('tc')
  if (tc === undefined) return undefined
  const words = (end: string) => ['qdisc', 'add', 'dev', end, 'root', 'netem', 'loss', `${percent}%`]
  try {
    for (const end of [serverEnd, machineEnd]) execFileSync(tc, words(end), { stdio: 'ignore' })
  } catch {
    return undefined
  }
  const lostBy = (end: string) => {
    const [qdisc] = JSON.parse(
      execFileSync(tc, ['-s', '-j', 'qdisc', 'show', 'dev', end], { encoding: 'utf8' }),
    ) as { drops: number }[]
    return qdisc?.drops ?? 0
  }
  // They never leave the end that loses them.
  const frames = (from: string, to: string): Frames => {
    const lost = lostBy(from)
    return { sent: arrivedAt(to) + lost, lost }
  }
  return {
    by: 'netem',
    counts: () => ({
      toMachine: frames(serverEnd, machineEnd),
      fromMachine: frames(machineEnd, serverEnd),
    }),
  }
}

/** What comes in at an end. */
function loseByNftables(percent: number): LossyLink {
  const nft = required('nft')
  const chain = (end: string) => `chain ${end} {
    type filter hook ingress device ${end} priority 0
    numgen random mod 1000 < ${Math.round(percent * 10)} counter drop
  }`
  const table = `table netdev weather { ${chain(serverEnd)}\n${chain(machineEnd)}\n}`
  execFileSync(nft, ['-f', '-'], { input: table })
  const lostBy = (end: string) => {
    const text = execFileSync(nft, ['list', 'chain', 'netdev', 'weather', end], { encoding: 'utf8' })
    return Number(/counter packets (\d+)/.exec(text)?.[1] ?? 0)
  }
  const frames = (at: string): Frames => ({ sent: arrivedAt(at), lost: lostBy(at) })
  return {
    by: 'nftables',
    counts: () => ({ toMachine: frames(machineEnd), fromMachine: frames(serverEnd) }),
  }
}

function arrivedAt(end: string): number {
  const text = execFileSync(required('ip'), ['-s', '-j', 'link', 'show', 'dev', end], { encoding: 'utf8' })
  const [link] = JSON.parse(text) as { stats64?: { rx: { packets: number } } }[]
  return link?.stats64?.rx.packets ?? 0
}
