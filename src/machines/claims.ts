/**
 * What a machine says that profiles select by. While nobody has decided on it, its record becomes what its last hello said, and
 * anybody may say hello with its MAC address: so what changed is remembered, and a person who approves it names what is meant.
 * That something is said which was left empty is no such change (an agent of another architecture or version reads more): it is
 * an event, and shown.
 */
import { MusterError } from '../errors.ts'
import type { MachineRow } from '../store/schema.ts'
import { printable } from './events.ts'
import { normaliseMac, normaliseSerial, normaliseUuid } from './identifiers.ts'
import type { Machine } from './records.ts'

const labels = {
  uuid: 'UUID',
  serial: 'serial number',
  arch: 'architecture',
  vendor: 'vendor',
  product: 'product',
} as const
export type ClaimField = keyof typeof labels
export const claimFields = Object.keys(labels) as ClaimField[]

/** What was said last before it changed; without `before`, nothing was. `at`: RFC 3339. */
export type ClaimChanges = Readonly<Partial<Record<ClaimField, { before?: string; at: string }>>>

/** What a person means who approves a machine: all its MAC addresses; of the rest what is named, empty where it says none. */
export type Meant = { macs?: readonly string[] } & { readonly [Field in ClaimField]?: string }

type Claims = Pick<MachineRow, ClaimField>
export type ClaimEvent = {
  kind: 'identity-changed' | 'identity-filled'
  message: string
  data: Record<string, unknown>
}

/** What a hello changes in the claims of an undecided record. `row`: with what it said before. */
export function noteClaims(
  row: Claims & Pick<MachineRow, 'claimsChanged'>,
  said: Claims,
  at: Date,
): { claimsChanged: string | null; events: ClaimEvent[] } {
  const changes: Record<string, ClaimChanges[ClaimField]> = { ...parseChanges(row.claimsChanged) }
  const changed = claimFields.filter((field) => (row[field] || null) !== (said[field] || null))
  for (const field of changed) {
    // Taken away first and said anew then, it is no less another one.
    const before = row[field] || changes[field]?.before
    changes[field] = { at: at.toISOString(), ...(before === undefined ? {} : { before }) }
  }
  const events: ClaimEvent[] = []
  const filled = changed.filter((field) => !row[field])
  const replaced = changed.filter((field) => row[field])
  const phrase = (field: ClaimField, before = '') => `the ${labels[field]} ${shown(said[field])}${before}`
  const values = (of: Claims, fields: ClaimField[]) =>
    Object.fromEntries(fields.map((field) => [field, of[field]]))
  if (replaced.length > 0)
    events.push({
      kind: 'identity-changed',
      message: `it now says ${replaced.map((field) => phrase(field, `, before ${shown(row[field])}`)).join('; ')}: another machine may be speaking for it`,
      data: { before: values(row, replaced), now: values(said, replaced) },
    })
  if (filled.length > 0)
    events.push({
      kind: 'identity-filled',
      message: `it now says ${filled.map((field) => phrase(field)).join('; ')}, and said none before`,
      data: { now: values(said, filled) },
    })
  return { claimsChanged: changed.length === 0 ? row.claimsChanged : JSON.stringify(changes), events }
}

export function parseChanges(text: string | null): ClaimChanges {
  return text === null ? {} : (JSON.parse(text) as ClaimChanges)
}

/** Whether this was said in the place of something else, which an approval must name. */
const isReplaced = (machine: Machine, field: ClaimField) =>
  machine.claimsChanged?.[field]?.before !== undefined

/** @throws machine-changed where it says other things than a person means, or they changed and were not named */
export function checkMeant(machine: Machine, meant: Meant): void {
  const isOther = claimFields.some((field) =>
    meant[field] === undefined ? isReplaced(machine, field) : !isMeant(machine, field, meant),
  )
  const areMacsNamed = meant.macs !== undefined || machine.macsChangedAt !== undefined
  if (isOther || (areMacsNamed && !areMacsMeant(machine, meant))) throw machineChanged(machine, meant)
}

function areMacsMeant({ macs }: Machine, meant: Meant): boolean {
  const named = new Set(meant.macs?.map((mac) => normaliseMac(mac) ?? mac))
  return named.size === macs.length && macs.every((mac) => named.has(mac))
}

/** Compared as it was shown: nobody can type the control characters that a machine may say. */
function isMeant(machine: Machine, field: ClaimField, meant: Meant): boolean {
  const text = meant[field] ?? ''
  const normalised =
    field === 'uuid' ? normaliseUuid(text) : field === 'serial' ? normaliseSerial(text) : undefined
  return oneLine(normalised ?? text) === oneLine(machine[field] ?? '')
}

/** @param seen what was read and judged, where it is another now. */
export function machineChanged(machine: Machine, meant: Meant, seen: Machine = machine): MusterError {
  const { name, macs, macsChangedAt, claimsChanged } = machine
  const fields = claimFields.filter(
    (field) =>
      isReplaced(machine, field) ||
      (meant[field] !== undefined && !isMeant(machine, field, meant)) ||
      machine[field] !== seen[field],
  )
  const parts = fields.map((field) => {
    const change = claimsChanged?.[field]
    const since = change === undefined ? '' : ` since ${change.at} (before: ${shown(change.before)})`
    return `the ${labels[field]} ${shown(machine[field])}${since}`
  })
  const areMacsOpen = meant.macs !== undefined || macsChangedAt !== undefined || parts.length === 0
  if (areMacsOpen) {
    const since =
      macsChangedAt === undefined
        ? ''
        : ` since ${macsChangedAt} (before, it said others: 'muster events --machine ${name}')`
    parts.unshift(`the MAC addresses ${macs.join(', ')}${since}`)
  }
  const named = claimFields.filter((field) => fields.includes(field) || meant[field] !== undefined)
  const options = [
    ...(areMacsOpen ? [`--macs ${macs.join(',')}`] : []),
    ...named.map((field) => `--${field} ${quoted(machine[field] ?? '')}`),
  ].join(' ')
  const sentence = `${name} says ${parts.join('; ')}. If this is the machine you mean: muster approve ${name} ${options}`
  const details = { macs, ...Object.fromEntries(fields.map((field) => [field, machine[field] ?? ''])) }
  return new MusterError('machine-changed', sentence, { details })
}

/** Attacker-controlled: it stands in a sentence and in a command, so no line of its own. */
const oneLine = (text: string) => printable(text).replace(/[\t\n]/g, '\ufffd')
const shown = (text: string | null | undefined) => (text ? `'${oneLine(text)}'` : 'none')

/** For a POSIX shell (XCU §2.2.2): whatever a machine says, pasting the command runs nothing else. */
function quoted(text: string): string {
  const line = oneLine(text)
  return /^[A-Za-z0-9_.:@%+,/][A-Za-z0-9_.:@%+,/-]*$/.test(line) ? line : `'${line.replaceAll("'", "'\\''")}'`
}
