/** Downloads, told in lines: a first line that says how much there is, and then one for each tenth. */
import type { Progress } from '../builder/download.ts'

const million = 1_000_000

export function createProgressLines(print: (line: string) => void): Progress {
  let total = 0
  let shown = -1
  return ({ name, doneBytes, totalBytes }) => {
    if (totalBytes === 0) return
    if (totalBytes !== total) {
      total = totalBytes
      shown = -1
    }
    const tenth = Math.floor((doneBytes / totalBytes) * 10)
    if (tenth === shown) return
    shown = tenth
    print(
      `  ${(doneBytes / million).toFixed(1).padStart(6)} of ${(totalBytes / million).toFixed(1)} MB  ${name}`,
    )
  }
}
