/** Whether a secret stands in some text or bytes: as it is, or as any part of a base64 text, once or twice over. */

/** What to look for; base64 shifts with what stands before it, so there are three forms of each, without their ragged ends. */
export function tracesOf(secret: string): string[] {
  const once = base64Forms(secret)
  return [secret, ...once, ...once.flatMap(base64Forms)]
}

export function findTraces(traces: readonly string[], where: string | Uint8Array): string[] {
  const bytes =
    typeof where === 'string' ? Buffer.from(where) : Buffer.from(where.buffer, where.byteOffset, where.length)
  return traces.filter((trace) => bytes.includes(trace))
}

function base64Forms(text: string): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.from(' '.repeat(shift) + text)
      .toString('base64')
      .replace(/=+$/, '')
    // The first and last digits also carry bits of the neighbours.
    return encoded.slice(shift === 0 ? 0 : shift + 1, -1)
  })
}
