/**
 * A template language with nothing but names: `{{machine.name}}`, `{{machine.id}}`, `{{label.<key>}}`, `{{secret.<name>}}`.
 *
 * No expressions, no conditions, no includes: a template cannot reach anything that it is not given. Values are hostile
 * (labels come from people and their scripts), so each format has one encoder, and a value can never change the structure
 * of what it stands in.
 */
import { isDeepStrictEqual } from 'node:util'
import { parseAllDocuments, visit } from 'yaml'
import { MusterError } from '../errors.ts'

export type Format = 'yaml' | 'text'
/** The value of a name; undefined when there is none. */
export type Lookup = (name: string) => string | undefined

const placeholder = /\{\{\s*([^{}]*?)\s*\}\}/g
const nameShape =
  /^(machine\.(name|id)|label\.[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?|secret\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)$/

/** The names that a template asks for. @throws cluster-invalid for a name that does not exist in the language. */
export function templateNames(template: string): string[] {
  const names = [...template.matchAll(placeholder)].map((match) => match[1] as string)
  const wrong = names.find((name) => !nameShape.test(name))
  if (wrong !== undefined)
    throw invalid(
      `'{{${wrong.slice(0, 80)}}}' is unknown: expected machine.name, machine.id, label.<key> or secret.<name>`,
    )
  const rest = template.replace(placeholder, '')
  if (rest.includes('{{')) throw invalid("a '{{' is never closed by '}}' on the same level")
  return [...new Set(names)]
}

/** @throws cluster-invalid when a value is missing or the format cannot carry it. */
export function renderTemplate(template: string, format: Format, lookup: Lookup): string {
  templateNames(template)
  const value = (name: string): string => {
    const found = lookup(name)
    if (found === undefined) throw invalid(`there is no value for '{{${name}}}'`)
    if (!found.isWellFormed()) throw invalid(`the value of '{{${name}}}' is not valid Unicode`)
    return found
  }
  return format === 'yaml' ? renderYaml(template, value) : renderText(template, value)
}

/** Plain text has no quoting, so what would need some is refused. */
function renderText(template: string, value: (name: string) => string): string {
  return template.replace(placeholder, (_, name: string) => {
    const text = value(name)
    if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(text))
      throw invalid(`the value of '{{${name}}}' has control characters, which a text file cannot carry`)
    return text
  })
}

/**
 * Placeholders become plain words, the template is parsed, and each scalar that holds one is written anew as a double-quoted
 * scalar (YAML 1.2.2 §7.3.1), so `{{label.rack}}`, `"rack={{label.rack}}"` and a block scalar are all fine. Everything else
 * keeps its bytes. The result is parsed again and compared with what was meant.
 */
function renderYaml(template: string, value: (name: string) => string): string {
  const words = createWords(template)
  const marked = template.replace(placeholder, (_, name: string) => words.wordOf(name))
  const edits: { start: number; end: number; text: string }[] = []
  const meant: unknown[] = []
  for (const document of parseYaml(marked)) {
    visit(document, {
      Scalar(key, node) {
        const source = node.source ?? (typeof node.value === 'string' ? node.value : '')
        if (!words.used(source) || typeof node.value !== 'string') return
        if (key === 'key') throw invalid('a placeholder cannot stand in a key, only in a value')
        const [start, end] = node.range as [number, number, number]
        const full = words.replace(node.value, value)
        const newline = node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED' ? '\n' : ''
        edits.push({ start, end, text: encodeYamlString(full) + newline })
        node.value = full
      },
    })
    meant.push(document.toJS())
  }
  let text = marked
  for (const { start, end, text: encoded } of edits.sort((a, b) => b.start - a.start))
    text = text.slice(0, start) + encoded + text.slice(end)
  // What is left stands in comments, tags or anchors: none of them carries a value.
  text = words.restore(text)
  const result = parseYaml(text).map((document) => document.toJS() as unknown)
  if (!isDeepStrictEqual(result, meant)) throw invalid('a placeholder stands where YAML cannot carry a value')
  return text
}

function parseYaml(text: string) {
  const documents = parseAllDocuments(text, { uniqueKeys: true })
  const list = Array.isArray(documents) ? documents : []
  const problem = list.flatMap((document) => document.errors)[0]
  if (problem !== undefined) throw invalid(`it is not valid YAML: ${problem.message.split('\n')[0]}`)
  return list
}

/** JSON's escapes are YAML's too; besides, everything that YAML calls not printable or a line break (§5.1, §5.4). */
export function encodeYamlString(text: string): string {
  return JSON.stringify(text).replace(
    /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** Words that occur nowhere in the template, one per name. */
function createWords(template: string) {
  let prefix = 'Placeholder'
  while (template.includes(prefix)) prefix += 'X'
  const names: string[] = []
  const pattern = new RegExp(`${prefix}(\\d+)z`, 'g')
  return {
    wordOf(name: string): string {
      if (!names.includes(name)) names.push(name)
      return `${prefix}${names.indexOf(name)}z`
    },
    used: (text: string) => text.includes(prefix),
    replace: (text: string, value: (name: string) => string) =>
      text.replace(pattern, (_, index: string) => value(names[Number(index)] as string)),
    restore: (text: string) => text.replace(pattern, (_, index: string) => `{{${names[Number(index)]}}}`),
  }
}

function invalid(message: string): MusterError {
  return new MusterError('cluster-invalid', `the template cannot be used: ${message}`)
}
