/** Downloads, told in lines: at most one for each quarter, and none where it is over before it is read. */
import type { Progress } from '../builder/download.ts'

const million = 1_000_000
const worthTellingBytes = 5 * million

export function createProgressLines(print: (line: string) => void): Progress {
  let total = 0
  let shown = -1
  return ({ doneBytes, totalBytes }) => {
    if (totalBytes < worthTellingBytes) return
    if (totalBytes !== total) {
      total = totalBytes
      shown = -1
    }
    const quarter = Math.floor((doneBytes / totalBytes) * 4)
    if (quarter <= shown) return
    shown = quarter
    print(`    ${inMegabytes(doneBytes).padStart(5)} of ${inMegabytes(totalBytes)} MB`)
  }
}

function inMegabytes(bytes: number): string {
  return (bytes / million).toFixed(bytes < 10 * million ? 1 : 0)
}
