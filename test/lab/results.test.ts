import { expect, test } from 'vitest'
import { resultLines } from './results.ts'

test('each scenario has a row, each measured step a column in the order of a boot, and failures say why', () => {
  const lines = resultLines([
    {
      scenario: 'bios-pxe',
      totalSeconds: 41.4,
      seconds: [
        { step: 'blobs', seconds: 4 },
        { step: 'firmware', seconds: 9.96 },
        { step: 'waiting', seconds: 1 },
      ],
    },
    { scenario: 'relay', totalSeconds: 240, seconds: [], failure: 'the machine did not join: no address' },
    { scenario: 'uefi', totalSeconds: 7, seconds: [{ step: 'hello', seconds: 0.25 }] },
  ])
  expect(lines.join('\n')).toBe(`
seconds per step

| scenario | result | total | firmware | hello | blobs | waiting |
|----------|--------|-------|----------|-------|-------|---------|
| bios-pxe | passed |    41 |     10.0 |       |   4.0 |     1.0 |
| relay    | FAILED |   240 |          |       |       |         |
| uefi     | passed |     7 |          |   0.3 |       |         |

relay: the machine did not join: no address
2 passed, 1 failed`)
})

test('nothing measured is a table too', () => {
  expect(resultLines([{ scenario: 'raspberry-pi', totalSeconds: 3, seconds: [] }])).toContain(
    '| raspberry-pi | passed |     3 |',
  )
})
