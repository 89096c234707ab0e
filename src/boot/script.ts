/**
 * Boot scripts: the templates of boot-scripts/, filled in for one machine. One encoder per language, because labels,
 * serial numbers and arguments are attacker-controlled and every one of these languages would run what it reads.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'

export type ScriptName = 'autoexec' | 'agent' | 'skip' | 'unverified'

const folder = join(import.meta.dirname, '../../boot-scripts/ipxe')
const templates = new Map<string, string>()

/**
 * One iPXE script.
 * @param values replaces `{{name}}`; each value is encoded for iPXE, `trusted` ones are inserted as they are.
 * @throws MusterError internal when the template wants a value that is not given.
 */
export function ipxeScript(
  name: ScriptName,
  values: Readonly<Record<string, string>>,
  trusted: Readonly<Record<string, string>> = {},
): string {
  return template(name).replace(/\{\{(\w+)\}\}/g, (_, key: string) => {
    if (trusted[key] !== undefined) return trusted[key]
    const value = values[key]
    if (value === undefined)
      throw new MusterError('internal', `boot-scripts/ipxe/${name}.ipxe wants a value '${key}'.`)
    return encodeIpxe(value)
  })
}

/**
 * Text that iPXE cannot read as syntax: its parser knows white space, line ends, `$` (settings), `\` and quotes, `#`,
 * and the words `&&` and `||` (ipxe.org/scripting). What is left over is replaced by `_`, never escaped, because iPXE
 * versions in the field disagree about escaping. Spaces are kept: they only separate words.
 */
export function encodeIpxe(text: string): string {
  return text
    .replace(/[^A-Za-z0-9 ._:,;/=@%+?()[\]'*-]/g, '_')
    .replaceAll("'", '_')
    .slice(0, 2048)
}

function template(name: ScriptName): string {
  let text = templates.get(name)
  if (text === undefined) {
    text = readFileSync(join(folder, `${name}.ipxe`), 'utf8')
    templates.set(name, text)
  }
  return text
}
