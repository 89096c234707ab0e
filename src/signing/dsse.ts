/** Signs an envelope (src/protocol/envelope.ts): DSSE, secure-systems-lab/dsse protocol.md v1.0.2. */
import { MusterError } from '../errors.ts'
import { type Envelope, preAuthenticationHeader } from '../protocol/envelope.ts'
import type { Signer } from './keys.ts'

/** The signature is over the payload's own bytes behind the header, so nobody ever re-serialises what was signed. */
export function signEnvelope(options: {
  payloadType: string
  payload: Uint8Array
  signers: Signer[]
}): Envelope {
  const { payloadType, payload, signers } = options
  // PAE counts bytes and the header function counts characters: the same only in ASCII.
  if (!/^[\x21-\x7e]+$/.test(payloadType)) {
    throw new MusterError('internal', `A payload type is printable ASCII, but this is "${payloadType}".`)
  }
  const message = Buffer.concat([Buffer.from(preAuthenticationHeader(payloadType, payload.length)), payload])
  return {
    payloadType,
    payload: Buffer.from(payload).toString('base64'),
    signatures: signers.map((signer) => ({
      keyid: signer.keyid,
      sig: Buffer.from(signer.sign(message)).toString('base64'),
    })),
  }
}
