/**
 * The cryptography that server and agent share, as one small port: node.ts on the server, openssl.ts on the agent.
 * Synchronous, because tuf-js verifies synchronously.
 */
import type { PublicKey } from './public-key.ts'

export type HashAlgorithm = 'sha256' | 'sha384' | 'sha512'

export type Crypto = {
  /** 32 bytes. For metadata and messages, not for content: the agent computes it in plain ECMAScript. */
  sha256(bytes: Uint8Array): Uint8Array
  hash(algorithm: HashAlgorithm, bytes: Uint8Array): Uint8Array
  /**
   * Whether `signature` is the key's over `message`. False for anything malformed; throws only when the machinery
   * itself fails (`internal`).
   */
  verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean
  randomBytes(count: number): Uint8Array
  /** A fresh Ed25519 key that lives as long as the process. */
  createSigningKey(): SigningKey
}

export type SigningKey = {
  publicKey: PublicKey
  /** Ed25519 over the message itself (RFC 8032 §5.1.6): 64 bytes. */
  sign(message: Uint8Array): Uint8Array
}
