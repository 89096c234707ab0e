/**
 * How an agent signs what it says after hello. Headers of every request of the session:
 *
 *     muster-boot:      b-…                    the session that hello opened
 *     muster-sequence:  1, 2, 3 …              decimal, strictly rising; the same number again is a retry
 *     muster-signature: base64(Ed25519 signature by the session key over signedText)
 *
 * TLS with the pinned key protects the channel; this proves that both ends of a session are the same agent.
 */
export const sessionHeaders = {
  boot: 'muster-boot',
  sequence: 'muster-sequence',
  signature: 'muster-signature',
} as const

/** The text under the signature: five lines, each ended by LF. `bodySha256` in lower-case hexadecimal. */
export function signedText(request: {
  method: string
  path: string
  boot: string
  sequence: number
  bodySha256: string
}): string {
  const { method, path, boot, sequence, bodySha256 } = request
  return `muster-session-v1 ${method} ${path}\n${boot}\n${sequence}\n${bodySha256}\n`
}
