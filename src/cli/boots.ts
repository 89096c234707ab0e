/** `muster boot show`: one attempt of one machine, with its events and the console it left. */
import type { Command } from 'commander'
import type { BootView, BootWithConsole, EventView } from '../http/admin-boots.ts'
import { apiPath } from './api-client.ts'
import type { Context } from './context.ts'
import { eventLine } from './events.ts'
import { ago, facts, print, printableLines } from './output.ts'

export const bootsHead = ['BOOT', 'OPENED', 'STEP', 'OUTCOME', 'TARGET', 'AGENT', 'FROM']

export function bootRows(boots: readonly BootView[], nowMs: number): string[][] {
  return boots.map((boot) => [
    boot.id,
    ago(boot.openedAt, nowMs),
    boot.step,
    boot.outcome ?? (boot.held === undefined ? 'under way' : `held: ${boot.held}`),
    boot.plan?.target ?? '-',
    `${boot.agentVersion} (${boot.agentOrigin})`,
    boot.address,
  ])
}

export function addBoots(program: Command, context: Context): void {
  const boot = program.command('boot').description('one boot of a machine')
  boot
    .command('show')
    .argument('<boot>', "its id, b-…; 'muster machine boots' lists them")
    .description('its steps, its plan, and the console it left')
    .action(async (id: string) => {
      const api = context.api()
      const found = await api.call<BootWithConsole>({ method: 'GET', path: apiPath('boots', id) })
      const { items: events } = await api.call<{ items: EventView[] }>({
        method: 'GET',
        path: '/events',
        query: { boot: id, limit: 1000 },
      })
      print(context.output(), { ...found, events }, () => bootText(found, events, context.world.now()))
    })
}

function bootText(boot: BootWithConsole, events: readonly EventView[], nowMs: number): string {
  const name = events.find(({ machineName }) => machineName !== undefined)?.machineName
  const head = facts([
    ['boot', boot.id],
    ['machine', name === undefined ? boot.machineId : `${name} (${boot.machineId})`],
    ['opened', `${boot.openedAt} (${ago(boot.openedAt, nowMs)})`],
    ['outcome', boot.outcome ?? `under way, at step ${boot.step}`],
    ['held', boot.held],
    ['agent', `${boot.agentVersion}, ${boot.arch}, from ${boot.address}, origin ${boot.agentOrigin}`],
    ['target', boot.plan?.target],
    ['manifest', boot.plan?.digest],
    ['because', boot.plan?.because.join('; ')],
  ])
  const console = boot.console === undefined ? '' : `\nconsole:\n${printableLines(boot.console)}\n`
  return `${head}\n${events.map(eventLine).join('')}${console}`
}
