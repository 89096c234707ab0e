/**
 * What is known of the clients seen last, in bounded memory: two generations, and the older one goes as a whole when the younger has
 * half of what is kept. (One map in order of last use does it too, but a delete and an insert for each packet makes V8 write its table
 * anew all the time, and walk over what was deleted.)
 */
export class Recent<V> {
  readonly #half: number
  #young = new Map<string, V>()
  #old = new Map<string, V>()

  /** @param max entries that are kept at most; those of the last half of it are kept for sure. */
  constructor(max: number) {
    this.#half = Math.max(1, Math.floor(max / 2))
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Counts as seen. */
  get(key: string): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) {
      this.#old.delete(key)
      this.set(key, old)
    }
    return old
  }

  set(key: string, value: V): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }
}
