/** Whether a request was signed by the agent that opened the boot (protocol/session.ts). No I/O: bytes in, a verdict out. */
import { createHash, createPublicKey, verify } from 'node:crypto'
import { MusterError } from '../errors.ts'
import { sessionHeaders, signedText } from '../protocol/session.ts'

/** Ed25519 over `message` by a key in SPKI DER. False for anything malformed. */
export type VerifySession = (spki: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean

export const verifyEd25519: VerifySession = (spki, message, signature) => {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    return key.asymmetricKeyType === 'ed25519' && verify(null, message, key, signature)
  } catch {
    return false
  }
}

/** Everything in it is attacker-controlled. `path` as it stands in the request line, with its query. */
export type SessionRequest = {
  method: string
  path: string
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: Uint8Array
}

export type SessionVerdict = {
  sequence: number
  /** sha256 of the signed text, hexadecimal: what a retry must repeat. */
  digest: string
  /** The last accepted request over again: answer as before, record nothing twice. */
  retry: boolean
}

/** The boot that a request says it belongs to. @throws session-invalid */
export function readBootId(request: SessionRequest): string {
  const boot = request.headers[sessionHeaders.boot]
  if (typeof boot === 'string' && /^b-[a-z2-7]{16}$/.test(boot)) return boot
  throw new MusterError(
    'session-invalid',
    `the header ${sessionHeaders.boot} does not name a boot: say hello first`,
  )
}

/** @throws session-invalid for a wrong signature, an old number, or a number used for something else. */
export function verifySession(
  boot: { id: string; sessionKey: string; sequence: number; sequenceDigest: string },
  request: SessionRequest,
  verifySignature: VerifySession,
): SessionVerdict {
  const number = request.headers[sessionHeaders.sequence]
  const signature = request.headers[sessionHeaders.signature]
  if (typeof number !== 'string' || !/^[1-9][0-9]{0,14}$/.test(number) || typeof signature !== 'string') {
    throw new MusterError(
      'session-invalid',
      `boot ${boot.id}: expected the headers ${sessionHeaders.sequence} (1, 2, …) and ${sessionHeaders.signature}`,
    )
  }
  const sequence = Number(number)
  const text = signedText({
    method: request.method,
    path: request.path,
    boot: boot.id,
    sequence,
    bodySha256: createHash('sha256').update(request.body).digest('hex'),
  })
  const [key, bytes] = [Buffer.from(boot.sessionKey, 'base64'), Buffer.from(signature, 'base64')]
  if (!verifySignature(key, Buffer.from(text), bytes)) {
    throw new MusterError(
      'session-invalid',
      `boot ${boot.id}: the signature is not by the key that its hello carried: another agent must say its own hello`,
    )
  }
  const digest = createHash('sha256').update(text).digest('hex')
  if (sequence > boot.sequence) return { sequence, digest, retry: false }
  if (sequence === boot.sequence && digest === boot.sequenceDigest) return { sequence, digest, retry: true }
  throw new MusterError(
    'session-invalid',
    `boot ${boot.id}: request number ${sequence} came after ${boot.sequence}, or says something else than before under the same number`,
    { details: { expected: boot.sequence + 1, found: sequence } },
  )
}
