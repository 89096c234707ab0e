/** How much memory the machine has, and the least that was free while the agent worked. */
import { MusterError } from '../errors.ts'
import type { Host } from './host.ts'
import { asciiText } from './text.ts'

export type MemoryMeter = {
  totalBytes: number
  /** Reads /proc/meminfo; gives MemAvailable in bytes and remembers the least. */
  sample(): Promise<number>
  /** MemTotal less the least MemAvailable seen: page cache that can be dropped does not count. */
  peakBytes(): number
}

export async function createMemoryMeter(host: Host, procFolder: string): Promise<MemoryMeter> {
  const read = async (name: string): Promise<number> => {
    const text = asciiText(await host.readFile(`${procFolder}/meminfo`, 8192))
    const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]
    if (kibibytes === undefined) throw new MusterError('internal', `${procFolder}/meminfo has no ${name}.`)
    return Number(kibibytes) * 1024
  }
  const totalBytes = await read('MemTotal')
  let least = totalBytes
  return {
    totalBytes,
    async sample() {
      const available = await read('MemAvailable')
      least = Math.min(least, available)
      return available
    },
    peakBytes() {
      return totalBytes - least
    },
  }
}
