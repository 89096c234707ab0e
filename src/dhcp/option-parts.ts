/** The options of a packet, put together from the areas and the parts in which they travel (RFC 2131 §4.1, RFC 3396). */
import { MusterError } from '../errors.ts'
import { ByteReader } from '../wire/reader.ts'
import { options } from './options.ts'

/** Options in a packet, each part counted. Firmware sends some twenty, and there are 254 codes. */
const maxParts = 256

/**
 * Options as they are found, and those that come in parts, which are copied once, at the end: each part could have one byte, and a copy
 * for each of them would cost the square of the packet.
 */
export class OptionParts {
  readonly #found: Map<number, Uint8Array>
  /** By code, where there are several. */
  #several: Map<number, Uint8Array[]> | undefined
  #count = 0

  constructor(found: Map<number, Uint8Array>) {
    this.#found = found
  }

  /** One area, attacker-controlled. @throws packet-invalid */
  read(area: Uint8Array): void {
    const reader = new ByteReader(area, { what: 'DHCP options' })
    // RFC 2131 §4.1 wants option 255 at the end; where it is missing the area's end will do.
    while (reader.remaining > 0) {
      const code = reader.u8()
      if (code === options.pad) continue
      if (code === options.end) return
      this.#count += 1
      if (this.#count > maxParts)
        throw new MusterError(
          'packet-invalid',
          `DHCP packet is malformed: it has more than ${maxParts} options`,
        )
      const value = reader.bytes(reader.u8())
      const before = this.#found.get(code)
      if (before === undefined) this.#found.set(code, value)
      else this.#add(code, before, value)
    }
  }

  /** RFC 3396 §7: one value, in the order of the packet. */
  join(): void {
    for (const [code, parts] of this.#several ?? []) this.#found.set(code, Buffer.concat(parts))
  }

  #add(code: number, first: Uint8Array, value: Uint8Array): void {
    this.#several ??= new Map()
    const parts = this.#several.get(code)
    if (parts === undefined) this.#several.set(code, [first, value])
    else parts.push(value)
  }
}
