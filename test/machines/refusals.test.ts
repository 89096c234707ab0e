import { expect, test } from 'vitest'
import { isRefusal } from '../../src/protocol/refusals.ts'

test.each(['blob-truncated', 'channel-invalid', 'server-pin', 'plan-nonce', 'file-refused'])(
  '%s says that the machine would not take what it was given',
  (code) => expect(isRefusal(code)).toBe(true),
)

test.each([
  'file-not-found',
  'metadata-unavailable',
  'kexec-failed',
  'release-exists',
  'constructor',
  '',
  undefined,
])('%s says that something did not work', (code) => expect(isRefusal(code)).toBe(false))
