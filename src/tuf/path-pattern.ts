/**
 * Path patterns of a delegation (TUF specification v1.0.34 §4.5, PATHPATTERN): `*` any characters, `?` exactly one,
 * neither ever `/`; every other character stands for itself, so `{a,b}`, `!b` and `[ab]` match only themselves.
 */

/** Linear in path times pattern: no regular expression, because patterns are attacker-controlled until verified. */
export function matchesPathPattern(path: string, pattern: string): boolean {
  const names = path.split('/')
  const patterns = pattern.split('/')
  return names.length === patterns.length && names.every((name, index) => matchesName(name, patterns[index]!))
}

function matchesName(name: string, pattern: string): boolean {
  let [at, next] = [0, 0]
  // Where the last `*` stands, and how much of the name it has swallowed so far.
  let [star, swallowed] = [-1, 0]
  while (at < name.length) {
    const expected = pattern[next]
    if (expected === '*') {
      star = next++
      swallowed = at
    } else if (expected === '?' || (expected !== undefined && expected === name[at])) {
      at++
      next++
    } else if (star >= 0) {
      next = star + 1
      at = ++swallowed
    } else {
      return false
    }
  }
  while (pattern[next] === '*') next++
  return next === pattern.length
}
