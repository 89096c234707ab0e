/**
 * `npm run bench -- tftp [--rounds 5] [--case NAME] [--both]`: our TFTP server beside tftpd-hpa, atftpd and dnsmasq, on loopback,
 * under the same load from a client in C. The servers take turns within each round, so that a busy machine slows all of them
 * alike. `--both` measures our fall-back engine too.
 */

import { parseOptions, wholeNumber } from '../usage.ts'
import { caseOption, chosenCases } from './cases.ts'
import { bench, type Row } from './tftp/measure.ts'
import type { Case } from './tftp/servers.ts'

const files = { huge: 16_000_000, large: 4_000_000, medium: 1_500_000 }
const fileFor: Record<number, keyof typeof files> = { 1: 'huge', 16: 'large', 64: 'large', 256: 'medium' }

const cases: Case[] = [1, 16].flatMap((windowsize) =>
  [1, 16, 64, 256].map((clients) => ({
    name: `${clients}-clients-window-${windowsize}`,
    ...{ clients, file: fileFor[clients] ?? 'large', blksize: 1468, windowsize, loss: 0 },
  })),
)

export async function run(args: string[] = []): Promise<void> {
  const values = parseOptions(args, {
    rounds: { type: 'string', default: '5' },
    case: caseOption,
    both: { type: 'boolean', default: false },
  })
  await bench({
    name: 'tftp',
    cases: chosenCases(cases, values.case),
    files,
    rounds: wholeNumber('rounds', values.rounds),
    engines: values.both ? ['auto', 'dgram'] : ['auto'],
    goal: ({ clients }) => (clients >= 64 ? 1.1 : 1),
    bound,
  })
}

/** What keeps us from more: the numbers say which side had no processor left, or that nobody was short of one. */
function bound({ clients, windowsize }: Case, [ours]: readonly Row[]): string {
  if (ours === undefined) return ''
  const serverCpu = (ours.cpuSecondsPerGb * ours.median) / 1000
  if (ours.loadCpu > 0.9) return 'The load program had no processor time left: it is the bound.'
  if (serverCpu > 0.85)
    return 'Our thread had no processor time left: nearly all of it is the kernel sending one packet after the other.'
  const each =
    clients * windowsize === 1
      ? ' A block is one packet and its answer, so each waits for both, and for the 2 µs of our JavaScript between them.'
      : ''
  return `Neither side was short of processor time (ours ${serverCpu.toFixed(2)}, the load ${ours.loadCpu.toFixed(2)} of one each): the bound is how long a sleeping side takes to wake up.${each}`
}
