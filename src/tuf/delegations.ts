/** Which delegated roles may speak for a target: TUF specification v1.0.34 §4.5 and §5.6.7, TAP 15 for hash bins. */
import type { Crypto } from '../crypto/crypto.ts'
import { toHex } from '../crypto/encoding.ts'
import { encodeUtf8 } from '../wire/utf8.ts'
import { matchesPathPattern } from './path-pattern.ts'
import type { Delegations } from './validate.ts'

export type Delegate = { role: string; terminating: boolean }

/** In their order of appearance, which is the order of trust, up to and with the first terminating one. */
export function delegatesFor(delegations: Delegations, path: string, crypto: Crypto): Delegate[] {
  const pathHash = toHex(crypto.sha256(encodeUtf8(path)))
  const bins = delegations.succinct_roles
  if (bins !== undefined) {
    return [{ role: `${bins.name_prefix}-${binOf(pathHash, bins.bit_length)}`, terminating: true }]
  }
  const matching = (delegations.roles ?? [])
    .filter(
      ({ paths, path_hash_prefixes: prefixes }) =>
        paths?.some((pattern) => matchesPathPattern(path, pattern)) ??
        prefixes?.some((prefix) => pathHash.startsWith(prefix)),
    )
    .map(({ name, terminating }) => ({ role: name, terminating }))
  const last = matching.findIndex(({ terminating }) => terminating)
  return last < 0 ? matching : matching.slice(0, last + 1)
}

/** TAP 15: the first `bitLength` bits of the hash, in as many hexadecimal digits as the last bin's number needs. */
function binOf(pathHash: string, bitLength: number): string {
  const bin = Number.parseInt(pathHash.slice(0, 8), 16) >>> (32 - bitLength)
  return bin.toString(16).padStart(Math.ceil(bitLength / 4), '0')
}
