/**
 * DSSE, the envelope around signed answers (secure-systems-lab/dsse, protocol.md v1.0.2):
 * the signature is over PAE(payloadType, payload), so nothing is ever re-serialised.
 */
import * as z from 'zod/mini'
import { base64 } from './identifiers.ts'

export const envelope = z.object({
  payloadType: z.string().check(z.maxLength(128)),
  payload: base64(2_000_000),
  signatures: z
    .array(z.object({ keyid: z.string().check(z.maxLength(128)), sig: base64(1024) }))
    .check(z.minLength(1), z.maxLength(8)),
})
export type Envelope = z.infer<typeof envelope>

/** "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload; LEN is the decimal byte count. */
export function preAuthenticationHeader(payloadType: string, payloadLength: number): string {
  return `DSSEv1 ${payloadType.length} ${payloadType} ${payloadLength} `
}
