/** Small things with bytes and text that only the agent needs. Pure. */

/** For /proc, /sys and what programs say: a byte beyond ASCII becomes `?`, and nothing throws. */
export function asciiText(bytes: Uint8Array | undefined): string {
  const parts: string[] = []
  for (let offset = 0; offset < (bytes?.length ?? 0); offset += 4096) {
    // The engine's argument lists are bounded, so the text is put together in pieces.
    const piece = bytes!.subarray(offset, offset + 4096)
    parts.push(String.fromCharCode(...piece.map((byte) => (byte < 0x80 ? byte : 0x3f))))
  }
  return parts.join('')
}

/** What a stranger wrote, made fit for one line of a console: printable ASCII, at most `maxChars`. */
export function printable(text: string, maxChars: number): string {
  const line = text.replace(/[^\x20-\x7e]+/g, ' ').trim()
  return line.slice(0, maxChars)
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}
