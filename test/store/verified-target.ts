/** Verified targets for tests, made the only way there is: by signing a repository and verifying it. */
import { createHash, generateKeyPairSync } from 'node:crypto'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { periodsOf, toTimestamp } from '../../src/signing/expiry.ts'
import { createSigner } from '../../src/signing/keys.ts'
import {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  planDelegation,
  signMetadata,
  type TargetEntry,
} from '../../src/signing/repository.ts'
import { refresh } from '../../src/tuf/updater.ts'
import type { VerifiedTarget } from '../../src/tuf/verify.ts'

export function describeBytes(bytes: Uint8Array): { digest: string; size: number } {
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, size: bytes.length }
}

/** One verified target per entry of `files`, which maps paths to the targets' bytes. */
export async function verifiedTargets(
  files: Readonly<Record<string, Uint8Array>>,
): Promise<Record<string, VerifiedTarget>> {
  const signer = createSigner(generateKeyPairSync('ed25519').privateKey)
  const role = { keys: [signer.publicKey], keyids: [signer.keyid], threshold: 1 }
  const expires = toTimestamp(Date.now() + periodsOf('default').timestamp * 1000)
  const common = { version: 1, expires }
  const entries = Object.entries(files).map(([path, bytes]): [string, TargetEntry] => {
    const { digest, size } = describeBytes(bytes)
    return [path, { length: size, hashes: { sha256: digest.slice(7) } }]
  })
  const roles = { root: role, targets: role, snapshot: role, timestamp: role }
  const root = signMetadata(buildRoot({ ...common, roles }), [signer])
  const targets = signMetadata(
    buildTargets({ ...common, targets: Object.fromEntries(entries), delegations: planDelegation(signer) }),
    [signer],
  )
  const snapshot = signMetadata(buildSnapshot({ ...common, targetsVersion: 1, targets }), [signer])
  const timestamp = signMetadata(buildTimestamp({ ...common, snapshotVersion: 1, snapshot }), [signer])
  const served: Record<string, Uint8Array> = {
    'timestamp.json': timestamp,
    '1.snapshot.json': snapshot,
    '1.targets.json': targets,
  }
  const trusted = await refresh({
    repository: 'main',
    trustedRoot: root,
    fetch: async (name) => served[name],
    files: { read: async () => undefined, write: async () => {} },
    now: new Date(),
    crypto: createNodeCrypto(),
  })
  return Object.fromEntries(trusted.targets().map((target) => [target.path, target]))
}
