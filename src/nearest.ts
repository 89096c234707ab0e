/** "Did you mean": which of the known words somebody meant who wrote another one. */

/** @returns the nearest of `known`, where it is near enough that the wrong one is a slip of it; else undefined. */
export function nearest(text: string, known: readonly string[]): string | undefined {
  // Hostile or absurd lengths cost nothing: nothing is near to them.
  if (text.length === 0 || text.length > 64) return undefined
  const wanted = text.toLowerCase()
  let best: { word: string; distance: number } | undefined
  for (const word of known) {
    const distance = editDistance(wanted, word.toLowerCase())
    // A third of a word, as git and commander have it.
    if (distance <= Math.max(1, Math.floor(word.length / 3)) && distance < (best?.distance ?? Infinity))
      best = { word, distance }
  }
  return best?.word
}

/** `; did you mean 'x'?`, or nothing. */
export function didYouMean(text: string, known: readonly string[]): string {
  const word = nearest(text, known)
  return word === undefined ? '' : `; did you mean '${word}'?`
}

/** Optimal string alignment: insertions, deletions, changes, and two neighbours swapped, each counting one. */
export function editDistance(one: string, other: string): number {
  let before: number[] = []
  let last = Array.from({ length: other.length + 1 }, (_, column) => column)
  for (let row = 1; row <= one.length; row++) {
    const current = [row]
    for (let column = 1; column <= other.length; column++) {
      const same = one[row - 1] === other[column - 1]
      const swapped =
        row > 1 && column > 1 && one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1]
      current[column] = Math.min(
        current[column - 1]! + 1,
        last[column]! + 1,
        last[column - 1]! + (same ? 0 : 1),
        swapped ? before[column - 2]! + 1 : Infinity,
      )
    }
    before = last
    last = current
  }
  return last[other.length]!
}
