/** Median and spread of a handful of rounds: what a table of a benchmark shows. */
const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b)

export const median = (values: readonly number[]): number =>
  sorted(values)[Math.floor(values.length / 2)] ?? 0

/** `median (least–most)` */
export function spread(values: readonly number[], digits = 2): string {
  const inOrder = sorted(values)
  const show = (value: number | undefined) => (value ?? 0).toFixed(digits)
  return `${show(median(values))} (${show(inOrder[0])}–${show(inOrder.at(-1))})`
}
