/** minimatch for @tufjs/models: TUF knows `*` and `?` only, and our walk asks the same function directly. */
import { matchesPathPattern } from '../../tuf/path-pattern.ts'

export const minimatch = (path: string, pattern: string): boolean => matchesPathPattern(path, pattern)
