/** `muster config`: what is in force, and where each value comes from. */
import type { Command } from 'commander'
import { configKeys, configMember, environmentName } from '../config/load.ts'
import type { Context } from './context.ts'
import { print, table } from './output.ts'

type Row = { key: string; value: unknown; source: string; environment: string; what: string }

export function addConfig(program: Command, context: Context): void {
  program
    .command('config')
    .description('print what is in force and where each value comes from')
    .action(() => {
      const { config, sources } = context.loaded()
      const rows: Row[] = configKeys().map((key) => ({
        key,
        value: valueAt(config, key),
        source: sources.get(key) ?? 'default',
        environment: environmentName(key),
        what: configMember(key).description ?? '',
      }))
      print(context.output(), rows, () =>
        table(
          ['KEY', 'VALUE', 'FROM', 'WHAT IT IS'],
          rows.map(({ key, value, source, what }) => [key, text(value), source, what]),
          '',
        ),
      )
    })
}

function valueAt(tree: unknown, key: string): unknown {
  return key
    .split('.')
    .reduce<unknown>((node, name) => (node as Record<string, unknown> | undefined)?.[name], tree)
}

function text(value: unknown): string {
  if (value === undefined) return '-'
  if (Array.isArray(value)) return value.join(',')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
