/** One test for each thing that tuf-js lets through (docs/decisions/0004), and for what it has to keep letting through. */
import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { type TopLevelRole, validateMetadata } from '../../src/tuf/validate.ts'
import { keysOf, newSigner } from './world.ts'

// biome-ignore lint/suspicious/noExplicitAny: hostile metadata has no type
type Loose = any

const signers = [newSigner(), newSigner(), newSigner()]
const [first, second, third] = signers as [Loose, Loose, Loose]
const common = { spec_version: '1.0.31', version: 1, expires: '2030-01-01T00:00:00Z' }
const role = { keyids: [first.keyid], threshold: 1 }
const sha256 = 'ab'.repeat(32)

const valid: Record<TopLevelRole, () => Loose> = {
  root: () => ({
    _type: 'root',
    ...common,
    consistent_snapshot: true,
    keys: keysOf(...signers),
    roles: structuredClone({ root: role, timestamp: role, snapshot: role, targets: role }),
  }),
  timestamp: () => ({ _type: 'timestamp', ...common, meta: { 'snapshot.json': { version: 1 } } }),
  snapshot: () => ({ _type: 'snapshot', ...common, meta: { 'targets.json': { version: 1 } } }),
  targets: () => ({
    _type: 'targets',
    ...common,
    targets: { 'edge-os/1/arm64': { length: 1, hashes: { sha256 } } },
    delegations: {
      keys: keysOf(...signers),
      roles: [{ name: 'team', ...structuredClone(role), terminating: false, paths: ['edge-os/*/*'] }],
    },
  }),
}

const signature = { keyid: first.keyid, sig: 'ab' }

function check(kind: TopLevelRole, change: (signed: Loose, whole: Loose) => void) {
  const whole = { signatures: [{ ...signature }], signed: valid[kind]() }
  change(whole.signed, whole)
  return validateMetadata(kind, `${kind}.json`, Buffer.from(JSON.stringify(whole)))
}

function refuses(kind: TopLevelRole, change: (signed: Loose, whole: Loose) => void, place?: string) {
  const details = place === undefined ? {} : { details: expect.objectContaining({ place }) }
  expect(() => check(kind, change)).toThrow(expect.objectContaining({ code: 'metadata-invalid', ...details }))
}

const kinds = Object.keys(valid) as TopLevelRole[]

test.each(kinds)('%s metadata as it should be is valid', (kind) => {
  expect(check(kind, () => {}).signed).toEqual(valid[kind]())
})

describe.each(kinds)('%s metadata is refused', (kind) => {
  test.each([0, -1, 1.5, '1', 2 ** 53, null])('with version %j', (version) => {
    refuses(kind, (signed) => Object.assign(signed, { version }))
  })

  test.each([
    '2030',
    'Jan 1 2030',
    '2030-01-01',
    '2030-01-01T00:00:00.000Z',
    '2030-01-01T00:00:00+01:00',
    '2030-01-01 00:00:00Z',
    '2030-02-30T00:00:00Z',
    '2030-01-01T24:00:00Z',
    '2030-01-01T00:00:60Z',
    '+12030-01-01T00:00:00Z',
  ])('when it expires at "%s"', (expires) => {
    refuses(kind, (signed) => Object.assign(signed, { expires }), 'signed.expires')
  })

  test.each(['2.0.0', '1', '1.', '1.x', '1.0.0.0', '1e0.0', ''])(
    'with specification version "%s"',
    (version) => {
      refuses(kind, (signed) => Object.assign(signed, { spec_version: version }), 'signed.spec_version')
    },
  )

  test('as another kind than was asked for', () => {
    refuses(
      kind,
      (signed) => Object.assign(signed, { _type: kind === 'root' ? 'targets' : 'root' }),
      'signed._type',
    )
  })

  test('with two signatures of one keyid', () => {
    refuses(kind, (_, whole) => whole.signatures.push({ ...signature, sig: 'cd' }), 'signatures')
  })

  test.each(['a', 'xx', '0x', 'é'])('with a signature that is no hexadecimal: "%s"', (sig) => {
    refuses(kind, (_, whole) => Object.assign(whole.signatures[0], { sig }))
  })

  test.each(['', 'constructor', 'toString', '__proto__', 'a\nb'])('with the keyid %j', (keyid) => {
    refuses(kind, (_, whole) => Object.assign(whole.signatures[0], { keyid }))
  })

  test('without signatures, or without a signed part', () => {
    refuses(kind, (_, whole) => delete whole.signatures)
    refuses(kind, (_, whole) => delete whole.signed)
  })
})

describe('root metadata is refused', () => {
  test('without consistent_snapshot, which decides about file names', () => {
    refuses('root', (root) => delete root.consistent_snapshot, 'signed.consistent_snapshot')
  })

  test.each([0, -1, 1.5, '1', null])('with threshold %j', (threshold) => {
    refuses('root', (root) => Object.assign(root.roles.root, { threshold }))
  })

  test('with one role too few, or too many', () => {
    refuses('root', (root) => delete root.roles.snapshot)
    refuses('root', (root) => Object.assign(root.roles, { mirrors: role }))
  })

  test('with the same keyid twice in a role', () => {
    refuses('root', (root) => root.roles.root.keyids.push(first.keyid))
  })

  test('with one public key under two keyids of a role, which would count twice', () => {
    refuses('root', (root) => {
      root.keys[second.keyid] = root.keys[first.keyid]
      root.roles.root = { keyids: [first.keyid, second.keyid], threshold: 2 }
    })
  })

  test('with one public key in two spellings in a role', () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const public1 = publicKey.export({ format: 'pem', type: 'spki' }).toString()
    const public2 = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex')
    for (const [a, b] of [
      [public1, public2],
      [public2, public2.toUpperCase()],
      [public1, public1.trimEnd()],
    ]) {
      refuses('root', (root) => {
        const form = { keytype: 'ed25519', scheme: 'ed25519' }
        root.keys = { a: { ...form, keyval: { public: a } }, b: { ...form, keyval: { public: b } } }
        root.roles.root = { keyids: ['a', 'b'], threshold: 2 }
      })
    }
  })

  test('with an RSA key that calls itself ed25519: libraries would verify by what it is', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const text = publicKey.export({ format: 'pem', type: 'spki' }).toString()
    refuses('root', (root) => Object.assign(root.keys[first.keyid].keyval, { public: text }))
  })

  test('with a key that is no key, or not of strings', () => {
    refuses('root', (root) => Object.assign(root.keys[first.keyid].keyval, { public: 'ab' }))
    refuses('root', (root) => Object.assign(root.keys[first.keyid].keyval, { public: 7 }))
    refuses('root', (root) => Object.assign(root.keys[first.keyid], { keyval: 'ab' }))
  })

  test('with more keys than anybody has', () => {
    refuses('root', (root) => {
      for (let index = 0; index < 300; index++)
        root.keys[`k${index}`] = structuredClone(root.keys[first.keyid])
    })
  })
})

describe('root metadata is still accepted', () => {
  test('with keys of a type that we do not know, one key for several roles, and unknown members', () => {
    check('root', (root, whole) => {
      root.keys.other = { keytype: 'sigstore-oidc', scheme: 'Fulcio', keyval: { identity: 'a@example.org' } }
      root.keys[first.keyid].keyid_hash_algorithms = ['sha256']
      Object.assign(root, { 'x-tuf-on-ci-expiry-period': 365, _note: { nested: [1] } })
      Object.assign(whole, { extra: 1 })
    })
  })

  test('with a keyid that is not the hash of its key (TAP 12)', () => {
    check('root', (root) => {
      root.keys['my-key'] = root.keys[first.keyid]
      root.roles.root.keyids = ['my-key']
    })
  })

  test('with a signature still to come', () => {
    check('root', (_, whole) => whole.signatures.push({ keyid: second.keyid, sig: '' }))
  })
})

describe('timestamp and snapshot metadata is refused', () => {
  test('when timestamp names no snapshot, or more than that', () => {
    refuses('timestamp', (timestamp) => Object.assign(timestamp, { meta: {} }))
    refuses('timestamp', (timestamp) => Object.assign(timestamp.meta, { 'targets.json': { version: 1 } }))
  })

  test('when snapshot names no targets', () => {
    refuses('snapshot', (snapshot) => Object.assign(snapshot, { meta: { 'team.json': { version: 1 } } }))
  })

  test('when snapshot names a file that is no metadata', () => {
    refuses('snapshot', (snapshot) => Object.assign(snapshot.meta, { team: { version: 1 } }))
  })

  test.each([
    ['version', 0],
    ['version', 1.5],
    ['length', 0],
    ['length', -1],
    ['length', '5'],
    ['hashes', {}],
    ['hashes', { md5: 'ab'.repeat(16) }],
    ['hashes', { sha256: 'ab' }],
    ['hashes', { sha256: 'AB'.repeat(32) }],
  ])('when a file is described with %s %j', (member, value) => {
    refuses('snapshot', (snapshot) => Object.assign(snapshot.meta['targets.json'], { [member]: value }))
    refuses('timestamp', (timestamp) => Object.assign(timestamp.meta['snapshot.json'], { [member]: value }))
  })
})

describe('targets metadata is refused', () => {
  const target = (targets: Loose) => targets.targets['edge-os/1/arm64']
  const team = (targets: Loose) => targets.delegations.roles[0]

  test('when a target has no hashes: nothing but its length would bind it', () => {
    refuses('targets', (targets) => Object.assign(target(targets), { hashes: {} }))
  })

  test.each([
    { md5: 'ab'.repeat(16) },
    { sha256: '' },
    { sha256: 'ab'.repeat(31) },
    { sha256: 'AB'.repeat(32) },
  ])('when a target’s hashes are %j', (hashes) => {
    refuses('targets', (targets) => Object.assign(target(targets), { hashes }))
  })

  test.each([-1, 1.5, '1', null])('when a target’s length is %j', (length) => {
    refuses('targets', (targets) => Object.assign(target(targets), { length }))
  })

  test.each(['0', '10', '4294967294', '007'])(
    'when a delegated role is called "%s": objects would reorder it',
    (name) => {
      refuses(
        'targets',
        (targets) => Object.assign(team(targets), { name }),
        'signed.delegations.roles.0.name',
      )
    },
  )

  test.each([
    'root',
    'targets',
    'constructor',
    'toString',
    'hasOwnProperty',
    '',
    'a\u0000b',
    'x'.repeat(101),
  ])('when a delegated role is called %j', (name) => {
    refuses('targets', (targets) => Object.assign(team(targets), { name }), 'signed.delegations.roles.0.name')
  })

  test('when a role is delegated to twice', () => {
    refuses('targets', (targets) => targets.delegations.roles.push(structuredClone(team(targets))))
  })

  test.each(['{a,b}/*', '!b', 'edge-os/!b', '+(f|o)oo', '@(a)', '[ab]', 'a\\*', '#a', ''])(
    'when a delegation’s pattern is "%s": clients read it differently',
    (pattern) => {
      refuses('targets', (targets) => Object.assign(team(targets), { paths: [pattern] }))
    },
  )

  test('when a delegation has both paths and hash prefixes, or neither', () => {
    refuses('targets', (targets) => Object.assign(team(targets), { path_hash_prefixes: ['ab'] }))
    refuses('targets', (targets) => delete team(targets).paths)
  })

  test('when a delegation lists one public key under two keyids', () => {
    refuses('targets', (targets) => {
      targets.delegations.keys[third.keyid] = targets.delegations.keys[first.keyid]
      Object.assign(team(targets), { keyids: [first.keyid, third.keyid], threshold: 2 })
    })
  })

  test('when it has both roles and hash bins, or neither', () => {
    const bins = { ...role, bit_length: 4, name_prefix: 'bins' }
    refuses('targets', (targets) => Object.assign(targets.delegations, { succinct_roles: bins }))
    refuses('targets', (targets) => delete targets.delegations.roles)
  })

  test.each([0, 33, 1.5])('when there are 2^%s hash bins', (length) => {
    refuses('targets', (targets) => {
      delete targets.delegations.roles
      targets.delegations.succinct_roles = { ...role, bit_length: length, name_prefix: 'bins' }
    })
  })

  test('when a threshold is a fraction: 1.5 would be met by two, and read as one elsewhere', () => {
    refuses('targets', (targets) => Object.assign(team(targets), { threshold: 1.5 }))
  })

  test('when it has more targets than its reader can take', () => {
    refuses('targets', (targets) => {
      for (let index = 0; index < 5000; index++) targets.targets[`a/${index}/b`] = target(targets)
    })
  })
})

describe('targets metadata is still accepted', () => {
  test('with role names that only look dangerous', () => {
    for (const name of ['?', '#', '/team', '../team', 'registry.npmjs.org', '1.root', 'équipe']) {
      check('targets', (targets) => Object.assign(targets.delegations.roles[0], { name }))
    }
  })

  test('with sha512 beside or instead of sha256, and no delegations', () => {
    check('targets', (targets) => {
      targets.targets.a = { length: 0, hashes: { sha512: 'cd'.repeat(64) } }
      delete targets.delegations
    })
  })
})
