/** The listeners: three planes and TFTP, opened in order; when one cannot be opened, those before it are closed again. */
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Planner } from '../boot/decide.ts'
import type { BootSource } from '../boot/source.ts'
import { reachableHost } from '../boot/urls.ts'
import type { Config } from '../config/schema.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { AdminPlane } from '../http/admin.ts'
import { type AgentDeciders, type Client, createAgentPlane } from '../http/agent.ts'
import { createFirmwarePlane } from '../http/firmware.ts'
import { ociPullRoutes } from '../http/oci-pull.ts'
import type { createReleaseContent } from '../http/release-content.ts'
import type { TlsIdentity } from '../http/tls.ts'
import type { Log } from '../log.ts'
import type { FirmwareNote } from '../machines/firmware-activity.ts'
import type { Machines } from '../machines/machines.ts'
import { protocolVersion } from '../protocol/hello.ts'
import type { Releases } from '../releases/releases.ts'
import type { TftpFile } from '../tftp/file.ts'
import type { TftpServer } from '../tftp/server.ts'
import { startTftpServer } from '../tftp/start.ts'
import { type Dhcp, type DhcpOptions, openDhcp } from './dhcp.ts'
import { watchDhcp } from './dhcp-metrics.ts'
import { toRefusalNote, toTransferNote } from './firmware-notes.ts'
import { tftpLimitsOf } from './limits.ts'
import { localAddressTo } from './local-address.ts'
import type { Paths } from './paths.ts'

export type Ports = {
  firmware: number
  agent: number
  admin: number
  tftp: number | undefined
  dhcp?: Pick<Dhcp, 'addresses' | 'server'>
}
export type Listening = AsyncDisposable & { ports: Ports }

export type ListenOptions = {
  config: Config
  paths: Paths
  tls: TlsIdentity
  log: Log
  machines: Machines
  releases: Releases
  planner: Planner
  boot: BootSource
  content: ReturnType<typeof createReleaseContent>
  createAdmin(): Promise<AdminPlane>
  dhcp: Pick<DhcpOptions, 'leases' | 'now' | 'random'>
  /** Filled in as soon as it is known: scripts name these ports. */
  ports: Ports
}

/** @throws MusterError listen-failed, naming the key of the port. */
export async function listen(options: ListenOptions): Promise<Listening> {
  const { boot, config, content, log, paths, ports, tls } = options
  await using stack = new AsyncDisposableStack()

  const firmware = createFirmwarePlane({
    limits: config.firmware,
    deciders: { boot, content },
    ociPull: ociPullRoutes(content.oci),
    log,
  })
  stack.defer(() => firmware.close())
  const agent = await createAgentPlane({ tls, limits: config.agent, deciders: agentDeciders(options), log })
  stack.defer(() => agent.close())
  // Its metrics count the answers of the other planes, so it is made before they open, and opens last.
  const admin = stack.use(await options.createAdmin())
  admin.metrics.watch(firmware, 'firmware')
  admin.metrics.watch(agent, 'agent')
  ports.firmware = await open(firmware, 'firmware', config.firmware)
  ports.agent = await open(agent, 'agent', config.agent)

  if (config.tftp.enabled) {
    const tftp = stack.use(await startTftp(options))
    ports.tftp = await openTftp(tftp, config.tftp, log)
  }

  const dhcp = await openDhcp({ ...options, ...options.dhcp })
  if (dhcp !== undefined) {
    ports.dhcp = stack.use(dhcp)
    watchDhcp(admin.metrics.registry, dhcp)
  }

  const { url } = await admin.listen({ ...config.admin, socketPath: paths.socket })
  ports.admin = Number(new URL(url).port)

  const opened = stack.move()
  return { ports, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

function agentDeciders(options: ListenOptions): AgentDeciders {
  const { config, machines, planner, ports, releases } = options
  const host = (client: Client) =>
    reachableHost({ advertise: config.advertise, serverAddress: client.serverAddress })
  return {
    async hello(request, rawBytes, client) {
      const { machine, boot } = await machines.hello(request, { address: client.address, rawBytes })
      const mirrors = [
        {
          kind: 'static' as const,
          url: `http://${host(client)}:${ports.firmware}/tuf/${releases.repository}`,
        },
      ]
      return {
        protocol: protocolVersion,
        machine: machine.id,
        name: machine.name,
        boot: boot.id,
        repository: releases.repository,
        mirrors,
      }
    },
    authenticate: (request) => machines.authenticate(request),
    plan: (session, client) => planner.planFor(session.boot.id, `https://${host(client)}:${ports.agent}`),
    events: (session, request) => machines.recordAgentEvents(session, request),
    async report(request, token, client) {
      await machines.report({ ...request, token, address: client.address })
    },
  }
}

function startTftp(options: ListenOptions): Promise<TftpServer> {
  const { boot, config, log, machines } = options
  const note = (told: FirmwareNote | undefined) => {
    if (told !== undefined) machines.noteFirmware(told)
  }
  return startTftpServer({
    log,
    engine: config.tftp.engine,
    limits: tftpLimitsOf(config),
    onRefused: (refusal) => note(toRefusalNote(refusal)),
    onTransfer: (report) => note(toTransferNote(report)),
    async open({ client, filename }): Promise<TftpFile> {
      const serverAddress = await localAddressTo(client.address)
      return boot.open(filename, { address: client.address, serverAddress, over: 'tftp' })
    },
  })
}

async function open(
  app: FastifyInstance,
  plane: 'firmware' | 'agent',
  where: { host: string; port: number },
): Promise<number> {
  try {
    await app.listen({ host: where.host, port: where.port })
  } catch (cause) {
    throw cannotListen(`The ${plane} plane`, `${plane}.port`, where, cause)
  }
  return (app.server.address() as AddressInfo).port
}

const unprivilegedTftpPort = 6969

async function openTftp(tftp: TftpServer, where: { host: string; port: number }, log: Log): Promise<number> {
  try {
    return (await tftp.listen(where)).port
  } catch (cause) {
    if (where.port !== 69 || !isNotPermitted(cause)) throw cannotListen('TFTP', 'tftp.port', where, cause)
    log.info({ port: unprivilegedTftpPort }, 'port 69 is not permitted to this user')
  }
  try {
    return (await tftp.listen({ ...where, port: unprivilegedTftpPort })).port
  } catch (cause) {
    throw cannotListen('TFTP', 'tftp.port', { ...where, port: unprivilegedTftpPort }, cause)
  }
}

function isNotPermitted(error: unknown): boolean {
  const systemCode = (value: unknown) => (value as { code?: string } | undefined)?.code
  return (
    systemCode(error) === 'EACCES' ||
    (errorCodeOf(error) === 'listen-failed' && systemCode((error as Error).cause) === 'EACCES')
  )
}

function cannotListen(
  what: string,
  key: string,
  where: { host: string; port: number },
  cause: unknown,
): MusterError {
  const inner = cause instanceof MusterError && cause.cause !== undefined ? cause.cause : cause
  const { code } = inner as { code?: string }
  const why =
    code === 'EADDRINUSE'
      ? 'another program has it'
      : code === 'EACCES'
        ? 'this user may not take it'
        : code === 'EADDRNOTAVAIL'
          ? 'this machine does not have that address'
          : (inner as Error).message
  const wayOut =
    code === 'EADDRNOTAVAIL'
      ? `Name one that it has by ${key.replace(/\.port$/, '.host')}.`
      : `Choose another one by ${key}, or stop the other program.`
  return new MusterError(
    'listen-failed',
    `${what} cannot listen on ${where.host} port ${where.port}: ${why}. ${wayOut}`,
    {
      cause,
      details: { key, ...where },
    },
  )
}
