/** Verifies a DSSE envelope (secure-systems-lab/dsse, protocol.md v1.0.2) by the keys that metadata delegates to. */
import type { Crypto } from '../crypto/crypto.ts'
import { fromBase64 } from '../crypto/encoding.ts'
import { MusterError } from '../errors.ts'
import { type Envelope, preAuthenticationHeader } from '../protocol/envelope.ts'
import { encodeUtf8 } from '../wire/utf8.ts'
import { type Delegations, toPublicKey } from './validate.ts'

/**
 * The payload's bytes, signed by the threshold of the role's keys. The caller still looks at `payloadType`, which is
 * under the signature too.
 *
 * @param envelope attacker-controlled.
 * @throws plan-signature
 */
export function verifyEnvelope(options: {
  role: string
  envelope: Envelope
  delegations: Delegations | undefined
  crypto: Crypto
}): Uint8Array {
  const { role: name, envelope, delegations, crypto } = options
  const role = delegations?.roles?.find((delegated) => delegated.name === name)
  if (delegations === undefined || role === undefined) {
    throw refused(`targets.json delegates to no role "${name}", so nobody may sign it`)
  }
  // The header counts bytes and its function characters: the same only in ASCII.
  if (!/^[\x21-\x7e]+$/.test(envelope.payloadType)) throw refused('its payload type is not printable ASCII')
  const payload = decodeBase64(envelope.payload)
  const message = concatenate(
    encodeUtf8(preAuthenticationHeader(envelope.payloadType, payload.length)),
    payload,
  )

  // Each key counts once, however many signatures bear its keyid.
  const signers = role.keyids.filter((keyid) => {
    const key = Object.hasOwn(delegations.keys, keyid) ? toPublicKey(delegations.keys[keyid]!) : undefined
    if (key === undefined) return false
    const signature = envelope.signatures.find((candidate) => candidate.keyid === keyid)
    return signature !== undefined && crypto.verify(key, message, decodeBase64(signature.sig))
  })
  if (signers.length >= role.threshold) return payload
  throw refused(`${role.threshold} of the keys of "${name}" must sign it, and ${signers.length} did`)
}

function decodeBase64(text: string): Uint8Array {
  try {
    return fromBase64(text)
  } catch (cause) {
    throw refused('it is not base64', cause)
  }
}

function concatenate(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + tail.length)
  bytes.set(head)
  bytes.set(tail, head.length)
  return bytes
}

function refused(why: string, cause?: unknown): MusterError {
  return new MusterError('plan-signature', `The signed answer is not to be believed: ${why}.`, { cause })
}
