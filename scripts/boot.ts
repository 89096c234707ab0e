/**
 * `npm run boot`: a virtual machine boots from the server that runs here, or from a throwaway one, and its timeline is
 * printed while it happens.
 *
 *     exit 0   the machine joined; with --fault: it refused with the expected code (or recovered, where that is expected)
 *     exit 1   it did not join; the cause is printed
 *     exit 2   wrong usage
 *     exit 3   with --fault: it refused with another code
 *     exit 4   with --fault: it booted what it should have refused
 */

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type ApiClient, createApiClient } from '../src/cli/api-client.ts'
import { errorCodeOf, MusterError } from '../src/errors.ts'
import { type Commands, commandsOf } from '../src/setup/commands.ts'
import { faults } from '../test/support/faults.ts'
import { unpackTools } from '../test/support/unpack-tools.ts'
import { bootWholly, type WholeBoot } from '../test/support/whole-boot.ts'
import { oneOf, parseOptions, runProgram, WrongUsage, wholeNumber } from './usage.ts'

type Values = ReturnType<typeof optionsOf>

function optionsOf(args: readonly string[]) {
  return parseOptions(args, {
    fault: { type: 'string' },
    hardware: { type: 'string' },
    data: { type: 'string' },
    memory: { type: 'string', default: '1024' },
    console: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  })
}

await runProgram(main)

async function main(): Promise<number> {
  const values = optionsOf(process.argv.slice(2))
  if (values.help) return printHelp()
  if (values.fault !== undefined) oneOf('fault', values.fault, Object.keys(faults))
  if (values.hardware !== undefined) oneOf('hardware', values.hardware, ['virtual', 'server'])
  const memoryMiB = wholeNumber('memory', values.memory)
  if (values.data !== undefined && !existsSync(values.data))
    throw new WrongUsage(`--data names ${values.data}, and there is no such folder`)
  if ((await unpackTools(console.log, ['qemu-system-x86_64'])).length === 0)
    return boot(values, memoryMiB).catch((error: unknown) => {
      if (!(error instanceof MusterError)) throw error
      return told(1, error.message)
    })
  console.error('QEMU is missing and could not be unpacked. Install version 8 or later, with its iPXE ROMs.')
  return 69
}

function printHelp(): number {
  console.log(
    'npm run boot -- [--hardware virtual|server] [--data FOLDER] [--memory MiB] [--console] [--fault NAME]\n\nFaults, each made between server and machine:',
  )
  for (const [name, { about, expected }] of Object.entries(faults))
    console.log(`  ${name.padEnd(24)} ${expected.padEnd(20)} ${about}`)
  return 0
}

async function boot(values: Values, memoryMiB: number): Promise<number> {
  // An agent for other hardware, or an attacker, wants a server of its own.
  const data = resolve(values.data ?? 'data')
  const api =
    values.fault === undefined && values.hardware === undefined ? await runningServer(data) : undefined
  const commands = commandsOf({ data })
  const result = await bootWholly({
    ...(api === undefined
      ? { settings: { 'image.hardware': values.hardware ?? 'virtual' } }
      : { attach: api }),
    memoryMiB,
    ...(values.fault === undefined ? {} : { fault: values.fault }),
    // A download of packages may come first.
    timeoutMs: 240_000,
    print: (line) => console.log(api === undefined ? line : commands.typed(line)),
  })
  if (values.console) console.log(`\n── console\n${result.console}`)
  console.log('')
  if (values.fault === undefined) return toldJoin(result, api === undefined ? undefined : commands)
  const expected = faults[values.fault]!.expected
  if (result.outcome === 'booted')
    return told(4, `BOOTED: the machine took what it had to refuse (expected ${expected})`)
  if (result.outcome === 'other-code') return told(3, `another code than ${expected}: ${result.cause}`)
  if (result.outcome === 'timeout' || result.outcome === 'crashed') return told(1, result.cause)
  const good = expected === 'joined' ? result.outcome === 'joined' : result.outcome === 'refused'
  return told(
    good ? 0 : 3,
    expected === 'joined' ? 'recovered and joined' : `refused, and again at its retry: ${result.cause}`,
  )
}

/** The server of the data folder, when one runs: a socket alone may be what a killed one left. */
async function runningServer(data: string): Promise<ApiClient | undefined> {
  const path = join(data, 'admin.sock')
  if (!existsSync(path)) return noServer(`no server runs with the data folder ${data}`)
  const api = createApiClient({ kind: 'socket', path })
  try {
    await api.call({ method: 'GET', path: '/status' })
  } catch (error) {
    if (errorCodeOf(error) !== 'server-unreachable') throw error
    return noServer(`no server answers at ${path}: one that was killed left it`)
  }
  console.log(`booting from the server whose data is in ${data}`)
  return api
}

function noServer(why: string): undefined {
  console.log(`${why}; to boot from one that runs: npm run boot -- --data FOLDER, with its data folder`)
}

/** @param commands of the server that stays, with what it knows of this boot; undefined: a throwaway one */
function toldJoin(result: WholeBoot, commands: Commands | undefined): number {
  if (result.outcome !== 'joined') return told(1, `not joined: ${result.cause}`)
  const { hardware = 'unknown hardware', kernelBytes, initramfsBytes } = result.agent
  console.log('seconds per step:')
  for (const { step, seconds } of result.seconds)
    console.log(`  ${step.padEnd(16)} ${seconds.toFixed(1).padStart(6)}`)
  const total = result.seconds.reduce((sum, { seconds }) => sum + seconds, 0)
  console.log(`  ${'in all'.padEnd(16)} ${total.toFixed(1).padStart(6)}`)
  if (result.waitedSeconds > 0)
    console.log(`it waited ${result.waitedSeconds.toFixed(1)} s for a person, which is not counted above`)
  console.log(
    `agent (${hardware}): initramfs ${megabytes(initramfsBytes)}, kernel ${megabytes(kernelBytes)}, peak memory ${result.peakMemoryBytes === undefined ? 'unknown' : megabytes(result.peakMemoryBytes)}`,
  )
  const bootId = result.events.findLast((event) => event.bootId !== undefined)?.bootId
  if (commands === undefined || bootId === undefined) return told(0, 'joined')
  const command = commands.muster
  return told(0, `joined; '${command} boot show ${bootId}' shows it again, '${command} machines' the machine`)
}

function told(code: number, sentence: string): number {
  console.log(sentence)
  return code
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
