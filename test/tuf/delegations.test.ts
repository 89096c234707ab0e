import { SuccinctRoles } from '@tufjs/models/dist/role.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { delegatesFor } from '../../src/tuf/delegations.ts'
import { sha256Of } from './world.ts'

const crypto = createNodeCrypto()
const role = (name: string, paths: string[], terminating = false) => ({
  name,
  paths,
  terminating,
  keyids: [],
  threshold: 1,
})

test('the roles whose patterns match are asked in their order, up to the first that terminates', () => {
  const roles = [role('a', ['x/*']), role('b', ['y/*']), role('c', ['*/1'], true), role('d', ['*/*'])]
  expect(delegatesFor({ keys: {}, roles }, 'x/1', crypto).map((delegate) => delegate.role)).toEqual([
    'a',
    'c',
  ])
})

test('a role by hash prefixes speaks for the paths whose hash begins so', () => {
  const hash = sha256Of(Buffer.from('é/1'))
  const bin = {
    name: 'bin',
    path_hash_prefixes: [hash.slice(0, 3)],
    terminating: false,
    keyids: [],
    threshold: 1,
  }
  expect(delegatesFor({ keys: {}, roles: [bin] }, 'é/1', crypto)).toHaveLength(1)
  expect(delegatesFor({ keys: {}, roles: [bin] }, 'é/2', crypto)).toHaveLength(0)
})

test('a hash bin has the name that TAP 15 and tuf-js give it', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.integer({ min: 1, max: 32 }), (path, bits) => {
      const bins = { keyids: [], threshold: 1, bit_length: bits, name_prefix: 'bins' }
      const theirs = new SuccinctRoles({ keyIDs: [], threshold: 1, bitLength: bits, namePrefix: 'bins' })
      const [ours] = delegatesFor({ keys: {}, succinct_roles: bins }, path, crypto)
      expect(ours).toEqual({ role: theirs.getRoleForTarget(path), terminating: true })
    }),
  )
})
