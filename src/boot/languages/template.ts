/**
 * Boot scripts: the templates of boot-scripts/<language>/, filled in for one machine. Every language has an encoder of its
 * own beside its renderer, because labels, serial numbers and arguments are attacker-controlled and each of these languages
 * would run what it reads.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MusterError } from '../../errors.ts'
import type { Arch } from '../../protocol/identifiers.ts'

export type Values = Readonly<Record<string, string>>

/** What a renderer is told beside the decision. */
export type ScriptContext = {
  /** Kernel arguments of the boot agent, from the configuration. */
  agentArguments: (arch: Arch) => readonly string[]
  /** Agent planes in the order in which to ask, this server's as the machine reaches it first: https://host:port,https://… */
  agentServers: string
  /** Firmware planes of the peers, for loaders that can go on there: http://host:port */
  elsewhere?: readonly string[]
  /** The MAC address that the machine asked with, with colons; undefined: it said none. */
  mac: string | undefined
  /** It came over IPv6: what it is told to ask for has to come over IPv6 too, where its commands make a difference. */
  ipv6?: boolean
}

const folder = join(import.meta.dirname, '../../../boot-scripts')
const templates = new Map<string, string>()

/**
 * @param path below boot-scripts/: `grub/agent.cfg`.
 * @param values replaces `{{name}}`, each encoded by `encode`; `trusted` ones are inserted as they are.
 * @throws MusterError internal when the template wants a value that is not given.
 */
export function fillTemplate(
  path: string,
  encode: (text: string) => string,
  values: Values,
  trusted: Values = {},
): string {
  return template(path).replace(/\{\{(\w+)\}\}/g, (_, key: string) => {
    if (trusted[key] !== undefined) return trusted[key]
    const value = values[key]
    if (value === undefined) throw new MusterError('internal', `boot-scripts/${path} wants a value '${key}'.`)
    return encode(value)
  })
}

/**
 * A sentence for a person, in the punctuation that every boot language takes as it is; the encoder comes after it. The reasons are
 * written for all of Muster: 'muster approve rack-7' takes it back; …
 */
export function spoken(sentence: string): string {
  return sentence.replaceAll(';', ',').replace(/['"`]/g, '')
}

/** BOOTIF= as pxelinux and iPXE hand it over: hardware type 1, then the address with hyphens. */
export function bootInterfaceArgument(mac: string | undefined): string {
  return mac === undefined ? '' : `BOOTIF=01-${mac.replaceAll(':', '-')}`
}

/**
 * A path of the operator's folder in a script: the one place where an encoder's replacements would name another file, so
 * it is refused instead.
 * @throws MusterError profile-invalid
 */
export function plainPath(path: string): string {
  if (/^[A-Za-z0-9._/-]+$/.test(path)) return path
  throw new MusterError(
    'profile-invalid',
    `The file name '${path.slice(0, 80)}' has characters that boot loaders read as syntax; rename it to letters, digits and . _ - /`,
  )
}

function template(path: string): string {
  let text = templates.get(path)
  if (text === undefined) {
    text = readFileSync(join(folder, path), 'utf8')
    templates.set(path, text)
  }
  return text
}
