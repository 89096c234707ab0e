/** `muster doctor`: looks for what keeps machines from booting, on the server's machine and on its network. */
import { randomBytes } from 'node:crypto'
import { networkInterfaces } from 'node:os'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { aptMirrors } from '../builder/mirror.ts'
import type { Config } from '../config/schema.ts'
import { dgramEngine } from '../dhcp/engines/dgram.ts'
import { type Offer, probeServers } from '../dhcp/probe.ts'
import type { Facts } from '../doctor/check.ts'
import { examine, type Finding } from '../doctor/doctor.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Status } from '../http/admin-status.ts'
import type { Context } from './context.ts'
import { print, printable } from './output.ts'

const tftpWaitMs = 3000

export function addDoctor(program: Command, context: Context): void {
  program
    .command('doctor')
    .description("look for what keeps machines from booting; run it on the server's machine")
    .action(async () => {
      const { config } = context.loaded()
      const status = await statusOf(context)
      const facts = await factsOf(config, status)
      const findings = await examine(facts, {
        askDhcp: () => askDhcp(config, facts),
        fetch,
        now: () => context.world.now(),
        tftpWaitMs,
      })
      print(context.output(), { server: status !== undefined, findings }, () =>
        findingsText(findings, status === undefined ? resolve(config.data) : undefined),
      )
      const troubles = findings.filter(({ verdict }) => verdict.status === 'trouble').length
      if (troubles > 0)
        throw new MusterError(
          'trouble-found',
          `${troubles} of ${findings.length} checks found trouble; each says its way out.`,
        )
    })
}

/** Undefined: no server runs, which is no reason not to look at the rest. */
async function statusOf(context: Context): Promise<Status | undefined> {
  try {
    return await context.api().call<Status>({ method: 'GET', path: '/status' })
  } catch (error) {
    if (errorCodeOf(error) === 'server-unreachable') return undefined
    throw error
  }
}

async function factsOf(config: Config, status: Status | undefined): Promise<Facts> {
  const portOf = (plane: string) => {
    const url = status?.planes.find(({ name }) => name === plane)?.url
    return url === undefined ? undefined : Number(new URL(url).port || 80)
  }
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const outside = all
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address)
  const everywhere = ['0.0.0.0', '::'].includes(config.firmware.host)
  const first = config.dhcp.addresses[0] ?? outside[0] ?? '127.0.0.1'
  const upstream = config.releases.upstream?.url
  const mirrors = config.mirror === undefined ? await aptMirrors() : [config.mirror]
  return {
    host: config.advertise ?? (everywhere ? first : config.firmware.host),
    own: all.map(({ address }) => address),
    firmwarePort: portOf('firmware') ?? config.firmware.port,
    tftpPort: config.tftp.enabled ? (portOf('tftp') ?? config.tftp.port) : undefined,
    blockBytes: config.tftp.blockBytesMax,
    dhcpMode: config.dhcp.mode,
    prepared: status,
    roles: status?.repositories.flatMap(({ name, roles }) =>
      roles.map(({ expires, role }) => ({ repository: name, role, expires })),
    ),
    syncFailures: (status?.repositories ?? []).flatMap(({ name, syncFailure, upstream: url = '' }) =>
      syncFailure === undefined ? [] : [{ repository: name, upstream: url, reason: syncFailure.reason }],
    ),
    folders: status === undefined ? [resolve(config.data)] : [status.data],
    clocks: [...(upstream === undefined ? [] : [upstream]), ...mirrors],
  }
}

async function askDhcp({ dhcp }: Config, { own, host }: Facts): Promise<Offer[]> {
  const address = dhcp.addresses[0] ?? host
  if (!own.includes(address) || !/^\d+(\.\d+){3}$/.test(address))
    throw new MusterError(
      'request-invalid',
      `${address} is no IPv4 address of this machine: dhcp.addresses names one on whose network to ask`,
    )
  try {
    return await probeServers({
      ...{ engine: dgramEngine, address, random: randomBytes, waitMs: dhcp.probeMs },
      ports: { server: dhcp.port, client: dhcp.clientPort, pxe: dhcp.pxePort },
      vendorClass: 'PXEClient:Arch:00007:UNDI:003000',
      architecture: 7,
      wait: (ms) => sleep(ms),
    })
  } catch (cause) {
    const { code } = ((cause as Error).cause ?? {}) as { code?: string }
    throw new MusterError(
      'request-invalid',
      code === 'EADDRINUSE'
        ? `port ${dhcp.clientPort} is taken by the DHCP client of this machine, so nobody can be asked from here; ask from a machine with a fixed address`
        : `port ${dhcp.clientPort} cannot be opened by this user, so nobody can be asked; run it as root`,
      { cause },
    )
  }
}

const marks = { ok: 'ok      ', trouble: 'TROUBLE ', unknown: '?       ' } as const

/** @param noServerIn the data folder whose server does not run. */
export function findingsText(findings: readonly Finding[], noServerIn: string | undefined): string {
  const width = Math.max(...findings.map(({ check }) => check.length))
  const lines = findings.flatMap(({ check, verdict }) => {
    const head = `${marks[verdict.status]}${check.padEnd(width)}  `
    if (verdict.status === 'ok') return [head + verdict.found]
    if (verdict.status === 'unknown') return [`${head}could not be checked: ${verdict.why}`]
    return [head + verdict.found, `${' '.repeat(head.length)}→ ${verdict.wayOut}`]
  })
  if (noServerIn !== undefined)
    lines.unshift(`No server runs with the data folder ${noServerIn}: what it would tell is not checked.`, '')
  return lines.map((line) => `${printable(line)}\n`).join('')
}
