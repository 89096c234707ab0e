/**
 * netascii on the way out (RFC 764, "NVT"): LF becomes CR LF, and a CR that is not part of one becomes CR NUL.
 *
 * A file that has CR LF line ends already goes out with CR NUL CR LF: ugly, but decoding gives back every file as it was.
 */
const cr = 0x0d
const lf = 0x0a

/** The bytes as they travel; at most twice as many. Needs no state between chunks: each byte stands for itself. */
export function encodeNetascii(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let extra = 0
  for (const byte of bytes) if (byte === cr || byte === lf) extra += 1
  const out = new Uint8Array(bytes.byteLength + extra)
  let at = 0
  for (const byte of bytes) {
    if (byte === lf) out[at++] = cr
    out[at++] = byte
    if (byte === cr) out[at++] = 0
  }
  return out
}

/** What a receiver makes of it. A CR before anything else, or at the end, stays: nothing is lost in doubt. */
export function decodeNetascii(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.byteLength)
  let at = 0
  for (let index = 0; index < bytes.byteLength; index += 1) {
    const byte = bytes[index] as number
    const next = bytes[index + 1]
    if (byte === cr && (next === lf || next === 0)) {
      out[at++] = next === lf ? lf : cr
      index += 1
    } else out[at++] = byte
  }
  return out.slice(0, at)
}
