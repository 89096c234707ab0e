/** The DHCP server, put together from the configuration: pools, leases, who boots what, and mode `auto`. */
import { networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDhcpBoot } from '../boot/dhcp.ts'
import type { Config } from '../config/schema.ts'
import { toNumber } from '../dhcp/address.ts'
import { startAuto } from '../dhcp/auto.ts'
import { dgramEngine } from '../dhcp/engines/dgram.ts'
import { createInUse } from '../dhcp/in-use.ts'
import type { LeaseStore } from '../dhcp/leases.ts'
import type { KnownMachine } from '../dhcp/lessor.ts'
import { createPools, type Pool } from '../dhcp/pool.ts'
import { probeServers } from '../dhcp/probe.ts'
import { segmentsOf } from '../dhcp/recipients.ts'
import { Responder } from '../dhcp/responder.ts'
import { type Answered, createDhcpServer, type DhcpServer } from '../dhcp/server.ts'
import { chooseEngine } from '../dhcp/start.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Machines } from '../machines/machines.ts'
import { dhcpLimitsOf } from './limits.ts'

export type DhcpOptions = {
  config: Config
  /** Those that are listened on by now. */
  ports: { firmware: number; tftp: number | undefined }
  machines: Pick<Machines, 'find' | 'noteFirmware' | 'learnFirmwareAddress'>
  leases: LeaseStore
  log: Log
  /** Milliseconds since 1970. */
  now: () => number
  random: (bytes: number) => Uint8Array
}

export type Dhcp = AsyncDisposable & {
  server: DhcpServer
  responder: Responder
  addresses: readonly string[]
}

/**
 * Undefined where the configuration leaves it off.
 * @throws MusterError listen-failed, config-invalid, database-failed, engine-unavailable
 */
export async function openDhcp(options: DhcpOptions): Promise<Dhcp | undefined> {
  const { config, leases, log, machines, now, ports, random } = options
  const { dhcp } = config
  if (dhcp.mode === 'off') return undefined
  const pools = poolsOf(config)
  const addresses = dhcpAddresses(config)
  const limits = dhcpLimitsOf(config)
  await using stack = new AsyncDisposableStack()
  const responder = stack.use(
    new Responder({
      ...{ pools, limits, log, now, store: leases },
      boot: createDhcpBoot({ advertise: config.advertise, ports: () => ports }),
      machine: (mac) => knownMachine(machines, mac),
      inUse: dhcp.conflictCheckMs === 0 ? undefined : createInUse({ waitMs: dhcp.conflictCheckMs }),
      ...{ binl: dhcp.binl, relays: dhcp.relays },
      segments: segmentsOf(addresses, networkInterfaces()),
    }),
  )
  const { maxPacketBytes } = limits
  const engine = await chooseEngine({ engine: dhcp.engine, log, maxPacketBytes })
  const server = createDhcpServer({
    ...{ responder, addresses, limits, log, engine },
    // `auto` begins as what hurts nobody.
    mode: dhcp.mode === 'server' ? 'server' : 'proxy',
    yields: dhcp.mode === 'auto',
    ports: { server: dhcp.port, client: dhcp.clientPort, pxe: dhcp.pxePort },
    onAnswer: (answered) => noteOf(answered, machines),
  })
  await server.listen()
  stack.use(server)
  if (dhcp.mode === 'auto') {
    const ask = async (stop: AbortSignal) => {
      const asked = addresses.map((address) =>
        probeServers({
          ...{ engine: dgramEngine, address, random, waitMs: dhcp.probeMs },
          ports: { server: dhcp.port, client: dhcp.clientPort, pxe: dhcp.pxePort },
          onAddress: (mac) => server.ignore(mac),
          wait: (ms) => sleep(ms, undefined, { signal: stop }),
        }),
      )
      return (await Promise.all(asked)).flat()
    }
    const recheckMs = dhcp.recheckSeconds * 1000
    stack.use(startAuto({ server, ask, addresses, recheckMs, log, canServe: pools.length > 0 }))
  }
  const opened = stack.move()
  return { server, responder, addresses, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** What of it no start can do with, before anything is made. @throws MusterError config-invalid */
export function checkDhcp(config: Config): void {
  if (config.dhcp.mode === 'off') return
  poolsOf(config)
  dhcpAddresses(config)
}

/** @throws config-invalid */
function poolsOf({ dhcp }: Config): Pool[] {
  const pools = createPools(dhcp.pools, dhcp.reservations)
  if (dhcp.mode !== 'server' || pools.length > 0) return pools
  throw new MusterError(
    'config-invalid',
    'dhcp.mode is server, and dhcp.pools is empty: say which addresses machines may have, or choose the mode proxy',
  )
}

/** Our addresses on the segments to answer on. @throws config-invalid where it is not plain which they are */
export function dhcpAddresses(
  { advertise, dhcp, firmware }: Pick<Config, 'advertise' | 'dhcp' | 'firmware'>,
  interfaces: () => ReturnType<typeof networkInterfaces> = networkInterfaces,
): readonly string[] {
  if (dhcp.addresses.length > 0) return [...new Set(dhcp.addresses)]
  const all = Object.values(interfaces()).flatMap((addresses) => addresses ?? [])
  const own = all
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address)
  for (const known of [advertise, firmware.host])
    if (known !== undefined && own.includes(known) && toNumber(known) !== undefined) return [known]
  if (own.length === 1) return own
  throw new MusterError(
    'config-invalid',
    own.length === 0
      ? 'DHCP wants an IPv4 address of this machine, and it has none but loopback: configure one, or set dhcp.addresses'
      : `This machine has the addresses ${own.join(', ')}: name those on whose networks machines boot in dhcp.addresses`,
  )
}

async function knownMachine(
  machines: Pick<Machines, 'find'>,
  mac: string,
): Promise<KnownMachine | undefined> {
  try {
    const { id, name } = await machines.find(mac)
    // Nobody named it yet.
    return { name: name === id ? undefined : name }
  } catch (error) {
    if (errorCodeOf(error) === 'machine-not-found') return undefined
    throw error
  }
}

/** A line of a machine's timeline for what its firmware was told. */
function noteOf(answered: Answered, machines: Pick<Machines, 'noteFirmware' | 'learnFirmwareAddress'>): void {
  const { address, asked, because, client, file, reply, wanted } = answered
  if (client.mac === undefined) return
  if (wanted !== undefined) machines.learnFirmwareAddress(wanted, client.mac)
  if (client.kind === 'other') return
  // What another server is asked is its business; a REQUEST tells nothing new where we gave no address.
  if (reply === undefined && asked !== 'DISCOVER') return
  const told = [address, file].filter((part) => part !== undefined).join(', ')
  machines.noteFirmware({
    mac: client.mac,
    step: 'dhcp',
    message:
      reply === undefined
        ? `DHCP: ${client.what} asked and was not answered: ${because.at(-1)}`
        : `DHCP: ${client.what} asked (${asked}) and got ${reply}${told === '' ? '' : ` with ${told}`}`,
    data: { asked, ...(reply === undefined ? {} : { reply }), client: client.what },
  })
}
