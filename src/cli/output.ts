/** What commands print: tables for people, JSON for programs (--json). Names of machines come from strangers. */
import { escapeDriving, replaceDriving } from '../terminal.ts'

export type Output = {
  json: boolean
  /** Standard output. */
  write(text: string): void
  /** Standard error: what must not end up in a pipe. */
  note(text: string): void
}

/** A value for people or, with --json, the same value for programs. */
export function print(output: Output, value: unknown, forPeople: () => string): void {
  output.write(output.json ? `${toJson(value, 2)}\n` : ensureNewline(forPeople()))
}

/** JSON escapes what is below a blank; what else drives a terminal is escaped here, because --json is read on one too. */
export function toJson(value: unknown, indent?: number): string {
  return escapeDriving(JSON.stringify(value, undefined, indent))
}

/** Columns as wide as their widest cell, two spaces between; the last one is not padded. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  whenEmpty: string,
): string {
  if (rows.length === 0) return `${whenEmpty}\n`
  const lines = [head, ...rows].map((row) => row.map(printable))
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => (column === line.length - 1 ? cell : cell.padEnd(widths[column] as number)))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

/** `name  value` lines; what is undefined is left out. */
export function facts(pairs: readonly (readonly [name: string, value: string | undefined])[]): string {
  const known = pairs.filter(([, value]) => value !== undefined && value !== '')
  const width = Math.max(0, ...known.map(([name]) => name.length))
  return known.map(([name, value]) => `${name.padEnd(width)}  ${printable(value as string)}\n`).join('')
}

/** Attacker-controlled text (host names, serials, consoles) must not drive the terminal it is shown on. */
export function printable(text: string): string {
  return replaceDriving(text.replace(/[\t\n]/g, '?'), () => '?')
}

/** Whether text of several lines can be shown as it is. */
export function isPlain(text: string): boolean {
  return !text.includes('\t') && replaceDriving(text, () => '') === text
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => printable(line.replaceAll('\t', '    ')))
    .join('\n')
}

/** `3 s ago`, `5 min ago`, `2 h ago`, then days; a dash for never. */
export function ago(time: string | number | undefined | null, nowMs: number): string {
  if (time === undefined || time === null) return '-'
  const seconds = Math.max(0, Math.round((nowMs - new Date(time).getTime()) / 1000))
  if (seconds < 120) return `${seconds} s ago`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`
  return `${Math.round(seconds / 86_400)} days ago`
}

/** `11.7 MB`, decimal as disks and networks count. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`
  const units = ['kB', 'MB', 'GB', 'TB']
  let value = count
  let unit = -1
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

export function labelsText(labels: Readonly<Record<string, string>>): string {
  return (
    Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(',') || '-'
  )
}

function ensureNewline(text: string): string {
  return text === '' || text.endsWith('\n') ? text : `${text}\n`
}
