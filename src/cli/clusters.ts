/** `muster clusters` and `muster cluster <verb>`: what machines join. Secrets go in and are never shown. */
import type { Command } from 'commander'
import type { NamedDocument } from '../http/admin-profiles.ts'
import type { Context } from './context.ts'
import { addDocumentVerbs } from './documents.ts'
import { print, table } from './output.ts'

export function addClusters(program: Command, context: Context): void {
  program
    .command('clusters')
    .description('what machines join')
    .action(async () => {
      const { items } = await context.api().call<{ items: NamedDocument[] }>({
        method: 'GET',
        path: '/clusters',
      })
      print(context.output(), items, () =>
        table(
          ['CLUSTER', 'KIND', 'SECRETS'],
          items.map((one) => [
            one.name,
            String(one['kind'] ?? '-'),
            Object.keys(one['secrets'] ?? {}).join(',') || '-',
          ]),
          'There is no cluster.',
        ),
      )
    })
  addDocumentVerbs(program, context, {
    noun: 'cluster',
    description: 'one cluster: show, set, remove',
    comment: ({ secrets }) =>
      Object.keys(secrets ?? {}).length === 0
        ? undefined
        : "Secrets are never shown; 'muster cluster set' keeps the value of one that has none here.",
    afterSet: (name) => `cluster ${name} is set; a profile gives it to machines with 'cluster: ${name}'.`,
  })
}
