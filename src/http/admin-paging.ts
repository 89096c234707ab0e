/** Lists go page by page: `next` of one answer is `cursor` of the next question; no `next`: that was all. */
import { z } from 'zod'

export const pageLimit = 1000

export const pageQuery = z.object({
  cursor: z.string().max(256).optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(pageLimit).default(100).describe('Items of one page'),
})

export function page<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next: z.string().optional() })
}

/** `found` holds one item more than asked for when there is another page. */
export function toPage<Item>(
  found: readonly Item[],
  limit: number,
  cursorOf: (last: Item) => string,
): { items: Item[]; next?: string } {
  const items = found.slice(0, limit)
  const last = items.at(-1)
  return found.length > limit && last !== undefined ? { items, next: cursorOf(last) } : { items }
}
