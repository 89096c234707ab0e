/** `muster machines` and `muster machine <verb>`: who is here, and what may it do. */
import { type Command, InvalidArgumentError } from 'commander'
import type { BootView } from '../http/admin-boots.ts'
import { type MachineView, machine as machineSchema, type WhyView } from '../http/admin-machines.ts'
import { apiPath } from './api-client.ts'
import { oneOf } from './arguments.ts'
import { bootRows, bootsHead } from './boots.ts'
import type { Context } from './context.ts'
import { ago, bytes, facts, labelsText, print, printable, table } from './output.ts'
import { whyText } from './why-text.ts'

type Enrolment = MachineView['enrolment']
const states = machineSchema.shape.enrolment.options
const which = 'id, name or MAC address; the beginning of an id or name will do'

export function addMachines(program: Command, context: Context): void {
  const now = () => context.world.now()
  const call: Call = (method, name, action, body) => callMachine(context, method, name, action, body)

  program
    .command('machines')
    .description('all machines')
    .option('--enrolment <state>', `only those that are ${states.join(', ')}`, oneOf(states))
    .action(async ({ enrolment }: { enrolment?: Enrolment }) => {
      const machines = await allMachines(context, enrolment)
      print(context.output(), machines, () =>
        table(
          ['NAME', 'ID', 'ENROLMENT', 'WAITS', 'TRUST', 'ARCH', 'MAC', 'LABELS', 'SEEN'],
          machines.map((one) => [
            one.name,
            one.id,
            one.enrolment,
            one.waitsFor ?? '',
            one.trust,
            one.arch,
            one.macs[0] ?? '-',
            labelsText(one.labels),
            ago(one.lastSeenAt, now()),
          ]),
          "No machine has said hello yet. 'muster status' shows where they have to reach this server.",
        ),
      )
    })

  const machine = program.command('machine').description('one machine: show, approve, why, …')
  machine
    .command('show')
    .argument('<machine>', which)
    .description('what is known of it, and its last boots')
    .action(async (name: string) => {
      const found = await call<MachineView>('GET', name)
      const { items: boots } = await call<{ items: BootView[] }>('GET', found.id, 'boots')
      print(context.output(), { ...found, boots }, () => showText(found, boots, now()))
    })
  addEverydayVerbs(machine, context, {})
  // What is typed at night may be short: `muster approve rack-7`.
  addEverydayVerbs(program, context, { hidden: true })
  for (const [verb, description, done] of [
    [
      'quarantine',
      'keep it from booting anything until it is approved again',
      'is quarantined; what runs on it goes on running',
    ],
    ['retire', 'take it out of service; its record stays', 'is retired; it boots nothing from here'],
  ] as const) {
    addDecision(machine.command(verb), context, { verb, description, done })
  }
  machine
    .command('label')
    .argument('<machine>', which)
    .argument('<label...>', 'name=value sets a label (name= an empty one), name- takes it away', collectLabel)
    .description('set or remove labels, which profiles select by')
    .action(async (name: string, labels: Record<string, string | null>) => {
      const changed = await call<MachineView>('PATCH', name, undefined, { labels })
      print(context.output(), changed, () => `${changed.name}: ${labelsText(changed.labels)}`)
    })
  machine
    .command('rename')
    .argument('<machine>', which)
    .argument('<name>', 'its new node name: a-z, 0-9 and -')
    .description('give it another node name')
    .action(async (name: string, to: string) => {
      const found = await call<MachineView>('GET', name)
      if (found.name === to)
        return print(context.output(), found, () => `${found.id} is called ${to} already; nothing changed.`)
      const changed = await call<MachineView>('PATCH', found.id, undefined, { name: to })
      return print(
        context.output(),
        changed,
        () => `${changed.id} is now called ${changed.name}; it hears so at its next boot.`,
      )
    })
  machine
    .command('boots')
    .argument('<machine>', which)
    .description('its boots, newest first')
    .action(async (name: string) => {
      const { items } = await call<{ items: BootView[] }>('GET', name, 'boots')
      print(context.output(), items, () => table(bootsHead, bootRows(items, now()), 'It has not booted yet.'))
    })
}

type Call = <Reply>(method: string, machine: string, action?: string, body?: unknown) => Promise<Reply>

function callMachine<Reply>(context: Context, ...[method, machine, action, body]: Parameters<Call>) {
  return context.api().call<Reply>({
    method,
    path: apiPath('machines', machine, ...(action === undefined ? [] : [action])),
    ...(body === undefined ? {} : { body }),
  })
}

/** Of several machines all are looked up first, so that a slip in the third name leaves the first two as they were. */
async function known(context: Context, names: readonly string[]): Promise<readonly string[]> {
  if (names.length < 2) return names
  const ids: string[] = []
  for (const name of names) ids.push((await callMachine<MachineView>(context, 'GET', name)).id)
  return ids
}

/** approve, why and forget, below `machine` or beside it. */
function addEverydayVerbs(parent: Command, context: Context, options: { hidden?: boolean }): void {
  addApproval(parent.command('approve', options), context)
  parent
    .command('forget', options)
    .argument('<machine>', 'its whole id, name or MAC address')
    .description('remove its record, boots and events; its next hello finds it new')
    .action(async (name: string) => {
      await callMachine(context, 'POST', name, 'forget')
      print(context.output(), { forgotten: name }, () => `${name} is forgotten.`)
    })
  parent
    .command('why', options)
    .argument('<machine>', which)
    .description('what it would boot now and why, and how far that can be trusted')
    .action(async (name: string) => {
      const why = await callMachine<WhyView>(context, 'GET', name, 'why')
      print(context.output(), why, () => whyText(why))
    })
}

function addApproval(command: Command, context: Context): void {
  command
    .argument('<machine...>', which)
    .option('--macs <addresses>', 'all its MAC addresses, with commas: refused when it says others')
    .option('--uuid <uuid>', 'its UUID: refused when it says another, as are those below')
    .option('--serial <number>', "its serial number, '' where it says none")
    .option('--arch <arch>', 'its architecture')
    .option('--vendor <name>', "its vendor, '' where it says none")
    .option('--product <name>', "its product, '' where it says none")
    .description('let it boot what its profile says')
    .action(async (names: string[], meant: { macs?: string; [claim: string]: string | undefined }) => {
      if (Object.keys(meant).length > 0 && names.length > 1)
        command.error(`error: --${Object.keys(meant)[0]} is of one machine: approve one at a time`)
      const { macs, ...claims } = meant
      const body = {
        ...claims,
        ...(macs === undefined ? {} : { macs: macs.split(',').map((mac) => mac.trim()) }),
      }
      const changed: MachineView[] = []
      for (const name of await known(context, names))
        changed.push(await callMachine<MachineView>(context, 'POST', name, 'approve', body))
      print(context.output(), changed, () =>
        changed
          .map((one) => `${one.name} is approved; it boots when it asks again.\n${filledNote(one)}`)
          .join(''),
      )
    })
}

function addDecision(
  command: Command,
  context: Context,
  { verb, description, done }: { verb: string; description: string; done: string },
): void {
  command
    .argument('<machine...>', which)
    .description(description)
    .action(async (names: string[]) => {
      const changed: MachineView[] = []
      for (const name of await known(context, names))
        changed.push(await callMachine<MachineView>(context, 'POST', name, verb))
      print(context.output(), changed, () => changed.map((one) => `${one.name} ${done}.\n`).join(''))
    })
}

async function allMachines(context: Context, enrolment: Enrolment | undefined): Promise<MachineView[]> {
  const api = context.api()
  const machines: MachineView[] = []
  let cursor: string | undefined
  do {
    const query = { limit: 1000, cursor, enrolment }
    const page = await api.call<{ items: MachineView[]; next?: string }>({
      method: 'GET',
      path: '/machines',
      query,
    })
    machines.push(...page.items)
    cursor = page.next
  } while (cursor !== undefined)
  return machines
}

/** One change of a label after the other: null takes it away. */
function collectLabel(
  change: string,
  before: Record<string, string | null> = {},
): Record<string, string | null> {
  const at = change.indexOf('=')
  if (at > 0) return { ...before, [change.slice(0, at)]: change.slice(at + 1) }
  if (at === -1 && change.length > 1 && change.endsWith('-'))
    return { ...before, [change.slice(0, -1)]: null }
  if (at === 0) throw new InvalidArgumentError(`'${change}' has no name before the '='.`)
  throw new InvalidArgumentError('A label is set by name=value and taken away by name-.')
}

function unverifiedText({ unverified }: MachineView): string | undefined {
  if (unverified === undefined) return undefined
  return `profile '${unverified}' gives it files that nobody signed and nothing checks`
}

function macsChangedText({ macsChangedAt, name }: MachineView, nowMs: number): string | undefined {
  if (macsChangedAt === undefined) return undefined
  return `it said other macs before ${ago(macsChangedAt, nowMs)}: 'muster events --machine ${name}'`
}

/** What changed, and what was said where nothing had been: both are shown, the first wants to be named. */
function claimsChangedRows({ claimsChanged = {} }: MachineView, nowMs: number): [string, string][] {
  return Object.entries(claimsChanged).map(([field, { before, at }]) =>
    before === undefined
      ? ['SAID SINCE', `its ${field}, ${ago(at, nowMs)}; before, it said none`]
      : ['CHANGED', `its ${field} was '${before}' before ${ago(at, nowMs)}`],
  )
}

/** Approval does not ask about what was left empty at first: who gave it reads here what was filled in. */
function filledNote({ claimsChanged = {}, ...machine }: MachineView): string {
  const filled = Object.entries(claimsChanged).filter(([, { before }]) => before === undefined)
  return filled
    .map(([field, { at }]) => {
      const value = printable(String(machine[field as 'serial'] ?? 'none'))
      return `  Its ${field} '${value}' was said first at ${at}, and not at its first hello. If it is not its own: muster machine quarantine ${machine.name}\n`
    })
    .join('')
}

function showText(machine: MachineView, boots: readonly BootView[], nowMs: number): string {
  const { hardware } = machine
  const decided =
    machine.decidedBy === undefined ? undefined : `by ${machine.decidedBy}, ${ago(machine.decidedAt, nowMs)}`
  return [
    facts([
      ['name', machine.name],
      ['id', machine.id],
      ['enrolment', machine.enrolment],
      ['decided', decided],
      ['trust', machine.trust],
      ['waits', machine.waits],
      ['UNVERIFIED', unverifiedText(machine)],
      ['labels', labelsText(machine.labels)],
      ['macs', machine.macs.join(', ')],
      ['CHANGED', macsChangedText(machine, nowMs)],
      ...claimsChangedRows(machine, nowMs),
      ['uuid', machine.uuid],
      ['serial', machine.serial],
      ['hardware', [machine.vendor, machine.product].filter(Boolean).join(' ')],
      ['arch', machine.arch],
      ['memory', bytes(hardware.memoryBytes)],
      ['processors', String(hardware.processors)],
      ['hardware ids', hardware.hardwareIds.join(', ')],
      ['seen', `${ago(machine.lastSeenAt, nowMs)}, first ${ago(machine.firstSeenAt, nowMs)}`],
    ]),
    '\n',
    table(bootsHead, bootRows(boots.slice(0, 5), nowMs), 'It has not booted yet.'),
  ].join('')
}
