/**
 * Packets as hexadecimal text, as people copy it from programs:
 *
 *     0101 06:00, 0x12 …                          digits alone, with blanks, colons, commas, hyphens and line ends; one packet
 *     00000000: 0101 0600 1234 …  ....4V…         xxd
 *     00000000  01 01 06 00 …  12 34 …  |…|       hexdump -C, Wireshark; a line `*` stands for repeated ones
 *     \t0x0000:  4500 0148 …  E..H…               tcpdump -x, -xx, -X, -XX, with its own lines in between; many packets
 *
 * A dump is known by its first offset, 0, and each line's offset says how many bytes the one before had: what stands behind those
 * is text, also where it looks like digits. The text is attacker-controlled.
 */
import { MusterError } from '../errors.ts'

const printableText = /^[\x20-\x7e\t\r\n]*$/
const dumpLine = /^[ \t]*(?:0x)?([0-9a-f]{4,8})(?::[ \t]+|[ \t]{2,})(\S.*)$/i
const endLine = /^([0-9a-f]{7,8})$/i
/** A longer one is no packet (RFC 791 §3.1), and a wrong offset must not become memory. */
const packetBytesMax = 65_535

/** Undefined for what is no text at all. @throws packet-invalid for text that is no hexadecimal */
export function hexPackets(file: Uint8Array): Uint8Array[] | undefined {
  const text = Buffer.from(file.buffer, file.byteOffset, file.length).toString('latin1')
  if (!printableText.test(text)) return undefined
  return dumpPackets(text) ?? [digits(text)]
}

function digits(text: string): Uint8Array {
  const found = text.replace(/0x/gi, '').replace(/[\s:,-]/g, '')
  if (found === '' || found.length % 2 === 1 || !/^[0-9a-f]+$/i.test(found))
    throw new MusterError(
      'packet-invalid',
      found.length % 2 === 1 && /^[0-9a-f]+$/i.test(found)
        ? `this hexadecimal text has ${found.length} digits: half a byte is missing`
        : 'this is text, and no hexadecimal',
    )
  return Buffer.from(found, 'hex')
}

/** Undefined where no line begins with offset 0. */
function dumpPackets(text: string): Uint8Array[] | undefined {
  const packets: Dump[] = []
  let repeats = false
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const dump = packets.at(-1)
    const [, end] = endLine.exec(line) ?? []
    if (line === '*') repeats = dump !== undefined
    else if (end !== undefined && dump !== undefined) {
      dump.goTo(Number.parseInt(end, 16), repeats, index + 1)
      repeats = false
    } else {
      const [, offset = '', rest = ''] = dumpLine.exec(line) ?? []
      if (offset === '') continue
      const at = Number.parseInt(offset, 16)
      const current = at === 0 ? new Dump() : dump
      if (current === undefined) continue
      if (at === 0) packets.push(current)
      else current.goTo(at, repeats, index + 1)
      repeats = false
      current.add(bytesOf(rest))
    }
  }
  return packets.length === 0 ? undefined : packets.map((dump) => dump.bytes())
}

/** One packet that is put together from the lines of a dump. */
class Dump {
  #before: number[] = []
  #line: number[] = []

  add(line: number[]): void {
    if (this.#before.length + this.#line.length + line.length > packetBytesMax)
      throw new MusterError(
        'packet-invalid',
        `a packet has ${packetBytesMax} bytes at most, and this dump more`,
      )
    this.#before.push(...this.#line)
    this.#line = line
  }

  /** The next line begins at `offset`: the last one has that many bytes and no more, or stands for all up to there. */
  goTo(offset: number, repeats: boolean, lineNumber: number): void {
    const wanted = offset - this.#before.length
    const [found, whole] = [this.#line.length, wanted % Math.max(1, this.#line.length) === 0]
    const fits = repeats
      ? wanted >= found && whole && offset <= packetBytesMax
      : wanted >= 0 && wanted <= found
    if (!fits)
      throw new MusterError(
        'packet-invalid',
        `line ${lineNumber} begins at byte ${offset}, and the lines before it have ${this.#before.length + found}: one is missing, or cut`,
      )
    const line = this.#line
    this.#line = Array.from({ length: wanted }, (_, index) => line[index % found] as number)
  }

  bytes(): Uint8Array {
    return Uint8Array.from([...this.#before, ...this.#line])
  }
}

/**
 * The bytes of a line, until where its text begins: behind two blanks. hexdump and Wireshark leave two blanks after eight bytes as well.
 */
function bytesOf(rest: string): number[] {
  const [first = '', gap = '', second = ''] = rest.replace(/\|.*$/, '').split(/(\s{2,})/)
  const columns = pairsOf(first)
  const more = columns.length === 8 && first.length === 23 && gap.length === 2 ? pairsOf(second) : []
  return [...columns, ...more]
}

/** None where it is anything else than groups of pairs. */
function pairsOf(column: string): number[] {
  if (!/^[0-9a-f]{2,}(?: [0-9a-f]{2,})*$/i.test(column.trim())) return []
  const pairs = column.replace(/ /g, '').match(/../g) ?? []
  return pairs.map((pair) => Number.parseInt(pair, 16))
}
