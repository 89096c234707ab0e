/** What `muster dhcp explain` answers for: the server that runs, or the configuration where none does. */
import { networkInterfaces } from 'node:os'
import type { Config } from '../config/schema.ts'
import { toNumber } from '../dhcp/address.ts'
import { errorCodeOf } from '../errors.ts'
import type { Status } from '../http/admin-status.ts'
import type { Context } from './context.ts'

/** RFC 5737: stands for the server's address where nothing names one. */
const exampleAddress = '192.0.2.1'

export type ExplainedServer = {
  from: 'running server' | 'configuration'
  mode: Config['dhcp']['mode']
  /** Of a running server in mode `auto`: what it does now. */
  now?: 'proxy' | 'server'
  /** Ours on the segment, and why it is taken to be that. */
  address: string
  because: string
  advertise: string | undefined
  ports: { firmware: number; tftp: number | undefined }
}

/** Asks the server by its socket or --url. That none runs is no reason not to explain; what it refuses is thrown. */
export async function explainedServer(context: Context): Promise<ExplainedServer> {
  const { config } = context.loaded()
  try {
    return ofStatus(await context.api().call<Status>({ method: 'GET', path: '/status' }), config)
  } catch (error) {
    const code = errorCodeOf(error)
    if (code === 'access-denied') return ofConfig(config, 'the server that runs belongs to another user')
    if (code === 'server-unreachable') return ofConfig(config, 'no server answers')
    throw error
  }
}

function ofStatus({ advertise, dhcp, planes }: Status, config: Config): ExplainedServer {
  const portOf = (plane: string) => {
    const url = planes.find(({ name }) => name === plane)?.url
    return url === undefined ? undefined : Number(new URL(url).port || 80)
  }
  const [own] = dhcp.addresses
  const guessed = guessAddress({ ...config, advertise })
  return {
    from: 'running server',
    mode: dhcp.mode,
    ...(dhcp.now === undefined ? {} : { now: dhcp.now }),
    ...(own === undefined ? guessed : { address: own, because: 'the running server answers from it' }),
    advertise,
    ports: { firmware: portOf('firmware') ?? config.firmware.port, tftp: portOf('tftp') },
  }
}

function ofConfig(config: Config, why: string): ExplainedServer {
  const { address, because } = guessAddress(config)
  return {
    from: 'configuration',
    mode: config.dhcp.mode,
    address,
    because: `${because}; ${why}, so the configuration was asked`,
    advertise: config.advertise,
    ports: { firmware: config.firmware.port, tftp: config.tftp.enabled ? config.tftp.port : undefined },
  }
}

function guessAddress({ advertise, dhcp, firmware }: Pick<Config, 'advertise' | 'dhcp' | 'firmware'>): {
  address: string
  because: string
} {
  const [named] = dhcp.addresses
  if (named !== undefined) return { address: named, because: 'dhcp.addresses names it' }
  if (advertise !== undefined && toNumber(advertise) !== undefined)
    return { address: advertise, because: 'advertise names it' }
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address)
  if (own.includes(firmware.host)) return { address: firmware.host, because: 'firmware.host names it' }
  const [only] = own
  if (own.length === 1 && only !== undefined)
    return { address: only, because: 'this machine has no other; dhcp.addresses names another one' }
  return { address: exampleAddress, because: 'it is an example: name the real one in dhcp.addresses' }
}

/** What of the answers below the server really gives, for the top of them. */
export function modeLines({ from, mode, now }: ExplainedServer): string[] {
  const who = from === 'running server' ? 'The running server' : 'A server with this configuration'
  if (mode === 'off')
    return [
      `${who} answers nothing of this: dhcp.mode is off. What turns it on is dhcp.mode: proxy beside another DHCP server, server where it is to give ` +
        'addresses itself, auto for whichever fits (docs/dhcp.md). What each mode would answer:',
      '',
    ]
  const does = mode === 'auto' && now === undefined ? 'proxy or server, whichever fits' : (now ?? mode)
  return [
    `${who} has dhcp.mode ${mode}${mode === 'auto' ? `, which is ${does}${now ? ' now' : ''}` : ''}.`,
    '',
  ]
}

export function addressLine({ address, because }: ExplainedServer): string {
  return `This server's address is taken to be ${address}: ${because}.`
}
