/**
 * JSON (RFC 8259) with one reading only, for bytes whose signature is checked over what was parsed from them.
 *
 * JSON.parse lets things through that two programs read differently, or that change when they are written again: a byte
 * order mark, the same member twice, integers above 2^53, fractions, halves of surrogate pairs, `__proto__`. None of them
 * belongs in TUF's canonical JSON (specification v1.0.34 §4.2.1), so each is an error here.
 */
import { MusterError } from '../errors.ts'
import { decodeUtf8 } from '../wire/utf8.ts'

export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue }

/** Deeper nesting than any metadata has, and far from the end of QuickJS's stack. */
const maxDepth = 32

/**
 * @param bytes attacker-controlled.
 * @param name of the file, for the sentence.
 * @throws metadata-invalid
 */
export function parseStrictJson(bytes: Uint8Array, name: string): { value: JsonValue; text: string } {
  const text = decode(bytes, name)
  return { value: new Parser(text, name).document(), text }
}

function decode(bytes: Uint8Array, name: string): string {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw new MusterError('metadata-invalid', `${name} begins with a byte order mark; JSON has none.`)
  }
  try {
    return bytes.every((byte) => byte < 0x80) ? decodeAscii(bytes) : decodeUtf8(bytes)
  } catch (cause) {
    throw new MusterError('metadata-invalid', `${name} is not UTF-8.`, { cause })
  }
}

/** Most metadata is ASCII, and megabytes of it: a chunk at a time instead of a character. */
function decodeAscii(bytes: Uint8Array): string {
  const chunks: string[] = []
  for (let at = 0; at < bytes.length; at += 4096)
    chunks.push(String.fromCharCode(...bytes.subarray(at, at + 4096)))
  return chunks.join('')
}

const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}

class Parser {
  readonly #text: string
  readonly #name: string
  #at = 0

  constructor(text: string, name: string) {
    this.#text = text
    this.#name = name
  }

  document(): JsonValue {
    const value = this.#value(0)
    this.#skipSpace()
    if (this.#at < this.#text.length) throw this.#refuse('nothing behind the document')
    return value
  }

  #value(depth: number): JsonValue {
    if (depth > maxDepth) throw this.#refuse(`at most ${maxDepth} levels of nesting`)
    this.#skipSpace()
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object(depth)
      case '[':
        return this.#array(depth)
      case '"':
        return this.#string()
      case 't':
        return this.#word('true', true)
      case 'f':
        return this.#word('false', false)
      case 'n':
        return this.#word('null', null)
      default:
        return this.#integer()
    }
  }

  #object(depth: number): JsonValue {
    const members: { [name: string]: JsonValue } = {}
    this.#at++
    if (this.#next('}')) return members
    do {
      this.#skipSpace()
      const name = this.#string()
      // Sorted by UTF-16 unit here and by code point elsewhere: a signature over such names depends on who checks it.
      if (/[\ud800-\udfff]/.test(name)) throw this.#refuse('member names within the Basic Multilingual Plane')
      if (name === '__proto__') throw this.#refuse('no member called __proto__')
      if (Object.hasOwn(members, name)) throw this.#refuse(`the member "${name}" once`)
      if (!this.#next(':')) throw this.#refuse('a colon')
      members[name] = this.#value(depth + 1)
    } while (this.#next(','))
    if (!this.#next('}')) throw this.#refuse('the end of an object')
    return members
  }

  #array(depth: number): JsonValue {
    const items: JsonValue[] = []
    this.#at++
    if (this.#next(']')) return items
    do items.push(this.#value(depth + 1))
    while (this.#next(','))
    if (!this.#next(']')) throw this.#refuse('the end of an array')
    return items
  }

  #string(): string {
    if (this.#text[this.#at] !== '"') throw this.#refuse('a string')
    this.#at++
    let value = ''
    for (;;) {
      value += this.#match(/[^"\\\u0000-\u001f]*/y) ?? ''
      const end = this.#text[this.#at++]
      if (end === '"') break
      if (end !== '\\') throw this.#refuse('no control character in a string')
      value += this.#escape()
    }
    if (/\p{Surrogate}/u.test(value)) throw this.#refuse('whole characters, found half of a surrogate pair')
    return value
  }

  #escape(): string {
    const letter = this.#text[this.#at++] ?? ''
    if (letter === 'u') {
      const digits = this.#match(/[0-9a-fA-F]{4}/y)
      if (digits === undefined) throw this.#refuse('four hexadecimal digits')
      return String.fromCharCode(Number.parseInt(digits, 16))
    }
    const plain = Object.hasOwn(escapes, letter) ? escapes[letter] : undefined
    if (plain === undefined) throw this.#refuse('a known escape')
    return plain
  }

  #integer(): number {
    const digits = this.#match(/-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y)
    if (digits === undefined) throw this.#refuse('a value')
    const value = Number(digits)
    if (!/^-?[0-9]+$/.test(digits) || !Number.isSafeInteger(value) || Object.is(value, -0)) {
      throw this.#refuse(`whole numbers below 2^53, found ${digits.slice(0, 32)}`)
    }
    return value
  }

  #word<T>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#refuse('a value')
    this.#at += word.length
    return value
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    this.#at += found?.length ?? 0
    return found
  }

  /** Whether `character` comes next after white space; then it is consumed. */
  #next(character: string): boolean {
    this.#skipSpace()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #skipSpace(): void {
    while (' \n\r\t'.includes(this.#text[this.#at] ?? 'x')) this.#at++
  }

  #refuse(expected: string): MusterError {
    return new MusterError(
      'metadata-invalid',
      `${this.#name} is not JSON as signed metadata needs it: expected ${expected}, at character ${this.#at}.`,
      { details: { name: this.#name, offset: this.#at } },
    )
  }
}
