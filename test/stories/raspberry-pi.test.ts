/** Three generations of Raspberry Pi boot by TFTP, each by the requests that its boot loader is known to make. */
import { expect, test } from 'vitest'
import { runRack } from '../support/raspberry-pi-rack.ts'

test('a Pi 3, 4 and 5 boot a tree of their own, and a retired one finds nothing', {
  timeout: 60_000,
}, async () => {
  const lines: string[] = []
  const settings = { 'tftp.host': '127.0.0.1', 'tftp.port': '0' }
  await runRack({ settings, host: '127.0.0.1', print: (line) => lines.push(line) })
  expect(lines.filter((line) => line.startsWith('Pi '))).toEqual([
    'Pi 3 (b66c4c16): 8 files, blksize 512',
    'Pi 4 (d9780558): 7 files, blksize 1024',
    'Pi 5 (2c-cf-67-84-a1-44): 5 files, blksize 1468',
  ])
})
