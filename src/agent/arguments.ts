/** Kernel arguments: which a plan may add, and the one line that the kernel gets. Pure. */
import { MusterError } from '../errors.ts'
import { commandLineProblem, splitWords } from '../protocol/command-line.ts'
import { argumentProblem } from '../protocol/plan.ts'
import { printable } from './text.ts'

/**
 * Attacker-controlled where the server is, though signed. `allowed` holds `name`, `name=*` and `prefix.*`.
 * @throws MusterError `argument-refused` naming the first argument that does not pass
 */
export function checkArguments(args: readonly string[], allowed: readonly string[]): void {
  for (const argument of args) {
    const problem = argumentProblem(argument)
    if (problem !== undefined) throw refused(argument, problem)
    const name = argument.split('=')[0]!
    if (!allowed.some((pattern) => matches(argument, name, pattern)))
      throw refused(argument, `this agent's policy allows only ${allowed.join(', ') || 'none'}`)
  }
}

/**
 * Both may name a device by its address (`uart8250,mmio,0x…`), and the kernel then writes there, whatever it is: Linux,
 * drivers/tty/serial/earlycon.c. So a wildcard covers names and speeds; an address is signed, or stands in the policy as it is.
 */
const addressable = /^(?:console|earlycon)=/
const withoutAddress = /^[a-z]+=[A-Za-z0-9:._-]*(?:,[1-9]\d{0,6}[neo]?[5-8]?r?)?$/

function matches(argument: string, name: string, pattern: string): boolean {
  if (argument === pattern) return true
  if (addressable.test(argument) && !withoutAddress.test(argument)) return false
  if (pattern.endsWith('=*')) return argument.includes('=') && name === pattern.slice(0, -2)
  return pattern.endsWith('.*') && name.startsWith(pattern.slice(0, -1)) && name.length > pattern.length - 1
}

/**
 * The signed command line, then what the plan adds; before `--` where the signed one has it, since all behind that is
 * init's. `maxBytes` is the kernel's limit.
 * @throws MusterError `argument-refused`
 */
export function commandLine(signed: string, args: readonly string[], maxBytes: number): string {
  const text = signed.trim()
  const problem = commandLineProblem(text)
  if (problem !== undefined) throw refused(text, problem)
  const { words } = splitWords(text)
  // The kernel takes the quotes off first (lib/cmdline.c, next_arg).
  const end = words.findIndex((word) => word === '--' || word === '"--"')
  const split = end < 0 ? words.length : end
  const line = [...words.slice(0, split), ...args, ...words.slice(split)].join(' ')
  if (line.length > maxBytes)
    throw refused(line, `the whole command line has ${line.length} bytes, and the kernel takes ${maxBytes}`)
  return line
}

function refused(argument: string, reason: string): MusterError {
  return new MusterError(
    'argument-refused',
    `The kernel argument "${printable(argument, 80)}" is refused: ${reason}.`,
  )
}
