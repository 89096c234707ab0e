/** `muster profiles` and `muster profile <verb>`: which machines boot what. */
import type { Command } from 'commander'
import type { NamedDocument } from '../http/admin-profiles.ts'
import type { Context } from './context.ts'
import { addDocumentVerbs } from './documents.ts'
import { print, table } from './output.ts'

type Profile = NamedDocument & {
  selector?: Record<string, unknown>
  image?: { name: string; channel?: string; version?: string }
  files?: { kernel: string }
  cluster?: string
}

export function addProfiles(program: Command, context: Context): void {
  program
    .command('profiles')
    .description('which machines get which image, arguments and cluster')
    .action(async () => {
      const { items } = await context.api().call<{ items: Profile[] }>({ method: 'GET', path: '/profiles' })
      print(context.output(), items, () =>
        table(
          ['PROFILE', 'MACHINES', 'BOOTS', 'CLUSTER'],
          items.map((one) => [one.name, selectorText(one.selector), bootsText(one), one.cluster ?? '-']),
          'There is no profile, so every machine goes on to its next boot device.',
        ),
      )
    })
  addDocumentVerbs(program, context, {
    noun: 'profile',
    description: 'one profile: show, set, remove',
    setFlags: [['--unpublished', 'take it before its image is published: no machine gets it until then']],
    afterSet: (name) => `profile ${name} is set; machines get it at their next boot.`,
  })
}

function selectorText(selector: Record<string, unknown> = {}): string {
  const parts = Object.entries(selector).map(([name, value]) =>
    name === 'labels' ? labelText(value) : `${name}=${listText(value)}`,
  )
  return parts.join(' ') || 'all'
}

function labelText(labels: unknown): string {
  return Object.entries(labels as object)
    .map(([name, value]) => `${name}=${listText(value)}`)
    .join(' ')
}

function listText(value: unknown): string {
  if (!Array.isArray(value)) return String(value)
  return value.length > 2 ? `${value.slice(0, 2).join('|')}|…` : value.join('|')
}

function bootsText({ image, files }: Profile): string {
  if (image !== undefined)
    return image.version === undefined ? `${image.name} (${image.channel})` : `${image.name}/${image.version}`
  return files === undefined ? '-' : `files/${files.kernel} (UNVERIFIED)`
}
