/**
 * `npm run bench -- tftp-loss [--rounds 5] [--case NAME]`: the same servers as `tftp`, with 2 % of the DATA packets lost at the
 * clients. The others wait for a fixed timer of a second or more; that is what a retransmission by measured round trip saves.
 */

import { parseOptions, wholeNumber } from '../usage.ts'
import { caseOption, chosenCases } from './cases.ts'
import { bench } from './tftp/measure.ts'
import type { Case } from './tftp/servers.ts'

const files = { small: 256_000 }

const cases: Case[] = [1, 16].map((windowsize) => ({
  name: `loss-window-${windowsize}`,
  ...{ clients: 32, file: 'small', blksize: 1468, windowsize, loss: 0.02 },
}))

export async function run(args: string[] = []): Promise<void> {
  const values = parseOptions(args, {
    rounds: { type: 'string', default: '5' },
    case: caseOption,
  })
  await bench({
    name: 'tftp-loss',
    cases: chosenCases(cases, values.case),
    files,
    rounds: wholeNumber('rounds', values.rounds),
    engines: ['auto'],
    goal: () => 10,
    bound: () =>
      'What is waited for is the shortest time before a block is sent again, tftp.retransmitMsMin.',
  })
}
