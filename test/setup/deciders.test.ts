import { expect, test } from 'vitest'
import { MusterError } from '../../src/errors.ts'
import { findKnown } from '../../src/setup/deciders.ts'

test('a database that fails does not make a known machine a new one', async () => {
  const finding = (error: MusterError) => ({ find: () => Promise.reject(error) })
  const unknown = finding(new MusterError('machine-not-found', 'No machine.'))
  expect(await findKnown(unknown, '52:54:00:00:00:01')).toBeUndefined()
  const failing = finding(new MusterError('database-failed', 'disk I/O error'))
  await expect(findKnown(failing, '52:54:00:00:00:01')).rejects.toMatchObject({ code: 'database-failed' })
})
