/** Profiles and clusters are documents under a name, in YAML for people: shown, set from a file, removed. */
import type { Command } from 'commander'
import { Document, parse, visit } from 'yaml'
import { MusterError } from '../errors.ts'
import type { NamedDocument } from '../http/admin-profiles.ts'
import { escapeDriving } from '../terminal.ts'
import { apiPath } from './api-client.ts'
import type { Context } from './context.ts'
import { readGiven } from './given-file.ts'
import { isPlain, print, printableLines } from './output.ts'

/** Adds `<noun> show|set|remove`; the list is the noun's own. */
export function addDocumentVerbs(
  program: Command,
  context: Context,
  options: {
    noun: 'profile' | 'cluster'
    description: string
    /** Flags of `set` that the API takes as query of the same name. */
    setFlags?: readonly [flag: string, description: string][]
    afterSet(name: string): string
    comment?(found: NamedDocument): string | undefined
  },
): void {
  const { noun, description, afterSet, comment, setFlags = [] } = options
  const collection = `${noun}s`
  const command = program.command(noun).description(description)
  command
    .command('show')
    .argument('<name>')
    .description(`print it as YAML, as '${noun} set' takes it`)
    .action(async (name: string) => {
      const found = await context
        .api()
        .call<NamedDocument>({ method: 'GET', path: apiPath(collection, name) })
      print(context.output(), found, () => documentText(found, comment?.(found)))
    })
  const set = command
    .command('set')
    .argument('[name]', "its name, when the file has no 'name'")
    .requiredOption('-f, --file <file>', 'YAML or JSON; - reads standard input')
    .description('make or replace it from a file')
    .action(async (given: string | undefined, { file, ...query }: { file: string }) => {
      const document = readDocument(file)
      const name = given ?? document['name']
      if (typeof name !== 'string' || name === '')
        throw new MusterError(
          'request-invalid',
          `${file} has no 'name': write it there, or as 'muster ${noun} set <name> -f ${file}'.`,
        )
      const path = apiPath(collection, name)
      const kept = await context
        .api()
        .call<NamedDocument & { warnings?: string[] }>({ method: 'PUT', path, query, body: document })
      print(context.output(), kept, () => afterSet(name))
      for (const warning of kept.warnings ?? [])
        context.output().note(`warning: ${printableLines(warning)}.\n`)
    })
  for (const [flag, about] of setFlags) set.option(flag, about)
  command
    .command('remove')
    .argument('<name>')
    .description('remove it')
    .action(async (name: string) => {
      const path = apiPath(collection, name)
      // Removing twice is no error of the API; a person who mistypes a name must not be told that it is removed.
      await context.api().call({ method: 'GET', path })
      await context.api().call({ method: 'DELETE', path })
      print(context.output(), { removed: name }, () => `${noun} ${name} is removed.`)
    })
}

/**
 * YAML that is read back as exactly this value. What would drive the terminal it is shown on stands in double quotes as an escape
 * (YAML 1.2.2 §5.7), so that nothing has to be taken away.
 */
export function documentText(value: NamedDocument, comment?: string): string {
  const document = new Document(value)
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value === 'string' && !isPlain(node.value)) node.type = 'QUOTE_DOUBLE'
    },
  })
  if (comment !== undefined) document.comment = ` ${comment}`
  // Without a width: a folded line is for nobody here to read, and a diff of two versions is.
  return escapeDriving(document.toString({ lineWidth: 0 }))
}

function readDocument(file: string): Record<string, unknown> {
  const text = readGiven(file === '-' ? '/dev/stdin' : file, { by: '--file', code: 'request-invalid' })
  let value: unknown
  try {
    value = parse(text.toString('utf8'))
  } catch (cause) {
    throw new MusterError('request-invalid', `${file} is not YAML: ${(cause as Error).message}`, { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw new MusterError(
    'request-invalid',
    `${file} must hold one profile or cluster, its members by name: docs/profiles.md and docs/clusters.md have examples.`,
  )
}
