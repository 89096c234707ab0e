/** Random numbers that a seed repeats, and what a fuzzer does to a packet. */
export type Dice = {
  /** 0 to `below` - 1. */
  roll(below: number): number
}

/** xorshift32 (Marsaglia 2003): fast, and the same everywhere. */
export function createDice(seed: number): Dice {
  let state = seed >>> 0 || 1
  return {
    roll(below) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return (state >>> 0) % below
    },
  }
}

/** A random packet, or one of `seeds` with some of its bytes changed, cut, doubled or grown. At most `maxBytes`. */
export function mutate(seeds: readonly Uint8Array[], dice: Dice, maxBytes: number): Uint8Array {
  if (dice.roll(16) === 0) return randomBytes(dice, dice.roll(maxBytes))
  let bytes = Uint8Array.from(seeds[dice.roll(seeds.length)] as Uint8Array)
  const changes = dice.roll(6)
  for (let change = 0; change < changes && bytes.length > 0; change += 1) {
    const at = dice.roll(bytes.length)
    switch (dice.roll(8)) {
      case 0:
        bytes = bytes.slice(0, at)
        break
      case 1:
        bytes = join(bytes.subarray(0, at), bytes.subarray(Math.max(0, at - dice.roll(64))))
        break
      case 2:
        bytes = join(bytes.subarray(0, at), randomBytes(dice, dice.roll(300)), bytes.subarray(at))
        break
      case 3:
        bytes.copyWithin(at, dice.roll(bytes.length), dice.roll(bytes.length))
        break
      case 4:
        bytes[at] = 255
        break
      default:
        bytes[at] = dice.roll(256)
    }
  }
  return bytes.length > maxBytes ? bytes.slice(0, maxBytes) : bytes
}

function randomBytes(dice: Dice, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => dice.roll(256))
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Bytes that are in use after a collection; the collector is asked for by name, because only a flag shows it. */
export async function usedBytes(): Promise<number> {
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed
}
