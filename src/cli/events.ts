/** `muster events`: what happened, and with --watch what is happening. */
import type { Command } from 'commander'
import type { EventView } from '../http/admin-boots.ts'
import { pageLimit } from '../http/admin-paging.ts'
import { wholeNumberFrom } from './arguments.ts'
import type { Context } from './context.ts'
import { bytes, print, printable, toJson } from './output.ts'

export function addEvents(program: Command, context: Context): void {
  program
    .command('events')
    .description('what happened to machines; --watch shows it while it happens')
    .option('--watch', 'go on until Ctrl-C')
    .option('--machine <machine>', 'only of this machine')
    .option('--boot <boot>', 'only of this boot')
    .option('--limit <count>', 'how many of the newest', wholeNumberFrom(1, pageLimit), 50)
    .action(async (options: { watch?: boolean; machine?: string; boot?: string; limit: number }) => {
      const { watch, machine, boot, limit } = options
      const api = context.api()
      const output = context.output()
      const { items } = await api.call<{ items: EventView[] }>({
        method: 'GET',
        path: '/events',
        query: { machine, boot, limit },
      })
      if (watch !== true) {
        print(output, items, () => items.map(eventLine).join('') || 'Nothing has happened yet.')
        return
      }
      const show = (event: EventView) => output.write(output.json ? `${toJson(event)}\n` : eventLine(event))
      for (const event of items) show(event)
      const lines = api.lines({
        method: 'GET',
        path: '/events/watch',
        query: { machine, boot, after: items.at(-1)?.id ?? 0 },
        signal: context.world.signal,
      })
      for await (const event of lines) show(event as EventView)
    })
}

/** Time, machine, kind, sentence; what is only claimed is marked, because anyone on the network may have said it. */
export function eventLine(event: EventView): string {
  const time = event.at.slice(0, 19).replace('T', ' ')
  const claimed = event.assurance === 'claimed' ? ' (claimed)' : ''
  return `${time}  ${event.machineName ?? event.machineId ?? '-'}  ${event.kind}${claimed}: ${printable(event.message)}${howFar(event)}\n`
}

function howFar({ data }: EventView): string {
  const { bytes: done, totalBytes } = data
  return typeof done === 'number' && typeof totalBytes === 'number'
    ? `, ${bytes(done)} of ${bytes(totalBytes)}`
    : ''
}
