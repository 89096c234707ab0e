/** `muster dhcp explain`: what a DHCP packet says, which firmware sent it, and what each mode would answer, and why. */
import { existsSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import type { Command } from 'commander'
import { createDhcpBoot } from '../boot/dhcp.ts'
import type { Config } from '../config/schema.ts'
import { type Capture, type CapturedPacket, readCapture } from '../dhcp/capture.ts'
import { type DecodedPacket, type Explained, explain } from '../dhcp/explain.ts'
import { defaultDhcpLimits } from '../dhcp/limits.ts'
import { createPools } from '../dhcp/pool.ts'
import { segmentsOf } from '../dhcp/recipients.ts'
import { Responder } from '../dhcp/responder.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import { silentLog } from '../log.ts'
import type { Context } from './context.ts'
import { addressLine, type ExplainedServer, explainedServer, modeLines } from './dhcp-server.ts'
import { readGiven } from './given-file.ts'
import { print, printable } from './output.ts'

export function addDhcp(program: Command, context: Context): void {
  const dhcp = program.command('dhcp').description('what DHCP clients are answered')
  dhcp
    .command('explain')
    .argument(
      '<capture>',
      "a file of 'tcpdump -w', of one packet or of hexadecimal (xxd, tcpdump -xx); - reads standard input; or the digits themselves",
    )
    .description('say what a DHCP packet is, and what each mode would answer to it, and why')
    .action(async (capture: string) => {
      const { config } = context.loaded()
      const { end, packets } = captureOf(capture)
      const server = await explainedServer(context)
      const responders = { proxy: responderOf(config, server), server: responderOf(config, server) }
      const explained: Packet[] = []
      for (const packet of packets) {
        try {
          explained.push(await explain(packet, responders, server.address))
        } catch (error) {
          if (errorCodeOf(error) !== 'packet-invalid') throw error
          explained.push({ malformed: (error as MusterError).message + cutText(packet) })
        }
      }
      const { address, because: _, ...facts } = server
      print(context.output(), { server: address, ...facts, end, packets: explained }, () =>
        explainedText(explained, server, end),
      )
    })
}

/** A file, standard input, or digits that stand on the command line. @throws MusterError packet-invalid, request-invalid */
function captureOf(given: string): Capture {
  const isFile = given === '-' || existsSync(given)
  if (!isFile && !/^[\s0-9a-fx:,-]+$/i.test(given))
    throw new MusterError(
      'packet-invalid',
      `There is no file ${given.slice(0, 128)}, and it is no hexadecimal either. Name a file of 'tcpdump -w', of one packet, or of its bytes in hexadecimal (as digits, by xxd, or by tcpdump -xx); - is standard input.`,
    )
  const bytes = isFile
    ? readGiven(given === '-' ? '/dev/stdin' : given, {
        by: '<capture>',
        what: 'The capture',
        code: 'request-invalid',
      })
    : Buffer.from(given)
  try {
    return readCapture(bytes)
  } catch (cause) {
    if (!(cause instanceof MusterError) || !isFile) throw cause
    const name = given === '-' ? 'standard input' : given
    throw new MusterError(cause.code, `${name}: ${cause.message}`, { cause, details: { path: name } })
  }
}

type Packet = Explained | { malformed: string }

/** `-s` of tcpdump cuts packets: what looks malformed may be whole on the wire. */
function cutText({ missingBytes }: CapturedPacket): string {
  if (missingBytes === undefined) return ''
  return `; the capture lacks the last ${missingBytes} bytes of it: record with tcpdump -s 0`
}

/** Nothing is asked of the network, and nothing is kept. */
function responderOf(config: Config, { address, advertise, ports }: ExplainedServer): Responder {
  return new Responder({
    pools: createPools(config.dhcp.pools, config.dhcp.reservations),
    boot: createDhcpBoot({ advertise, ports: () => ports }),
    store: { load: async () => [], put: async () => {} },
    inUse: undefined,
    binl: config.dhcp.binl,
    relays: config.dhcp.relays,
    segments: segmentsOf([address], networkInterfaces()),
    limits: { ...defaultDhcpLimits, firstLeaseMs: config.dhcp.firstLeaseSeconds * 1000 },
    log: silentLog,
    now: Date.now,
  })
}

function explainedText(packets: readonly Packet[], server: ExplainedServer, end: Capture['end']): string {
  const lines = packets.flatMap((one, index) => [
    ...(index === 0 ? [] : ['']),
    ...('malformed' in one ? [`packet ${index + 1}: ${one.malformed}`] : packetLines(one, index + 1)),
  ])
  const count = `${packets.length} DHCP ${packets.length === 1 ? 'packet was' : 'packets were'} read`
  const endLines = {
    whole: [],
    truncated: [
      `The file ends in the middle of a packet: ${count}, and what came after is not in it. Stop tcpdump with Ctrl-C before copying its file.`,
    ],
    limit: [`Only the first were taken: ${count}.`],
  }[end]
  lines.unshift(...modeLines(server))
  lines.push('', ...endLines, addressLine(server))
  return lines.map((line) => `${printable(line)}\n`).join('')
}

function packetLines({ answers, client, from, packet, to }: Explained, number: number): string[] {
  const way = from === undefined || to === undefined ? '' : ` from ${from} to ${to}`
  const lines = [
    `packet ${number}: ${packet.message} of ${packet.mac}${way}, xid ${packet.xid}`,
    ...decodedLines(packet, '  '),
  ]
  if (answers.length === 0) return [...lines, '  It is a reply of another server: nobody answers it.']
  lines.push(
    `It comes from ${client.what}${client.because.length === 0 ? '' : `, because of ${client.because.join(', ')}`}.`,
  )
  for (const { because, mode, reply } of answers) {
    // The first reason is the client itself, which was said.
    const reasons = because.length > 1 ? because.slice(1) : because
    if (reply === undefined) lines.push(`Mode ${mode}: no answer: ${reasons.join('; ')}.`)
    else
      lines.push(
        `Mode ${mode}: ${reply.message} to ${reply.to}, ${reply.bytes} bytes: ${reasons.join('; ')}.`,
        ...decodedLines(reply, '  '),
      )
  }
  return lines
}

function decodedLines({ header, options }: DecodedPacket, indent: string): string[] {
  const fields = Object.entries(header).map(([name, value]) => `${name} ${value}`)
  return [
    ...(fields.length === 0 ? [] : [`${indent}${fields.join(', ')}`]),
    ...options.map(
      ({ code, name, value }) => `${indent}${String(code).padStart(3)} ${name.padEnd(26)} ${value}`,
    ),
  ]
}
