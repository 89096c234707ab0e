/** Deadlines in order: a binary heap. A cancelled one stays until its time has come, and then nothing happens. */
import type { Timer } from '../../engine.ts'

type Entry = Timer & { atMs: number; act: (() => void) | undefined }

export class Timers {
  readonly #heap: Entry[] = []

  /** Of the next one; Infinity without any. */
  get nextAtMs(): number {
    while (this.#heap[0] !== undefined && this.#heap[0].act === undefined) this.#pop()
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  add(atMs: number, act: () => void): Timer {
    const entry: Entry = {
      atMs,
      act,
      cancel: () => {
        entry.act = undefined
      },
    }
    let index = this.#heap.push(entry) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (this.#at(parent) <= atMs) break
      this.#swap(index, parent)
      index = parent
    }
    return entry
  }

  /** Runs what is due; what they add for this time too is run next time. Gives whether anything was. */
  run(nowMs: number): boolean {
    const due: Entry[] = []
    while (this.nextAtMs <= nowMs) due.push(this.#pop())
    for (const entry of due) entry.act?.()
    return due.length > 0
  }

  #pop(): Entry {
    const first = this.#heap[0] as Entry
    const last = this.#heap.pop() as Entry
    if (this.#heap.length === 0) return first
    this.#heap[0] = last
    for (let index = 0; ; ) {
      const left = 2 * index + 1
      const least = this.#at(left + 1) < this.#at(left) ? left + 1 : left
      if (this.#at(least) >= last.atMs) return first
      this.#swap(index, least)
      index = least
    }
  }

  #at(index: number): number {
    return this.#heap[index]?.atMs ?? Number.POSITIVE_INFINITY
  }

  #swap(one: number, other: number): void {
    const entry = this.#heap[one] as Entry
    this.#heap[one] = this.#heap[other] as Entry
    this.#heap[other] = entry
  }
}
