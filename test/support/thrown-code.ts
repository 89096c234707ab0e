import { errorCodeOf } from '../../src/errors.ts'

/** The code of what `action` throws; `internal` for an error that is not ours, and words that no code is where nothing is thrown. */
export function thrownCode(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return errorCodeOf(error)
  }
  return 'nothing was thrown'
}
