/** `muster files unknown`, `muster lint raspberry-pi`: what firmware asked for in vain, and what it cannot load. */
import { Argument, type Command } from 'commander'
import { MusterError } from '../errors.ts'
import type { FindingView, UnknownFileView } from '../http/admin-boot-files.ts'
import type { Context } from './context.ts'
import { readGiven } from './given-file.ts'
import { ago, print, printable, table } from './output.ts'

export function addBootFiles(program: Command, context: Context): void {
  const files = program.command('files').description('files that firmware asks for')
  files
    .command('unknown')
    .description('those that are not there, with who asked')
    .action(async () => {
      const { items } = await context
        .api()
        .call<{ items: UnknownFileView[] }>({ method: 'GET', path: '/unknown-files' })
      print(context.output(), items, () => unknownText(items, context.world.now()))
    })
  program
    .command('lint')
    .description('what a kind of firmware cannot load of what is here')
    .addArgument(new Argument('<what>', 'the kind of firmware').choices(['raspberry-pi']))
    .option('--key <file>', "PEM of the public key in the boards' EEPROMs, to check boot.sig with")
    .action(async (_, { key }: { key?: string }) => {
      const publicKey =
        key === undefined
          ? undefined
          : readGiven(key, { by: '--key', what: 'The public key', code: 'request-invalid' }).toString('utf8')
      const { items } = await context.api().call<{ items: FindingView[] }>({
        method: 'POST',
        path: '/lint/raspberry-pi',
        body: publicKey === undefined ? {} : { publicKey },
      })
      print(context.output(), items, () => findingsText(items))
      const errors = items.filter(({ level }) => level === 'error').length
      if (errors > 0)
        throw new MusterError('lint-failed', `${errors} of these keep a Raspberry Pi from booting here.`)
    })
}

export function unknownText(items: readonly UnknownFileView[], nowMs: number): string {
  return table(
    ['NAME', 'TIMES', 'LAST', 'OVER', 'ASKED BY'],
    items.map(({ addresses, count, lastAt, name, over }) => [
      printable(name),
      String(count),
      ago(lastAt, nowMs),
      over.join(', '),
      addresses.join(', '),
    ]),
    'Firmware found all that it asked for.',
  )
}

export function findingsText(items: readonly FindingView[]): string {
  return table(
    ['', 'WHAT', 'FINDING'],
    items.map(({ level, sentence, what }) => [level === 'ok' ? 'ok' : level.toUpperCase(), what, sentence]),
    'Nothing was found.',
  )
}
