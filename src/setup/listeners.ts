/** The listeners: three planes and TFTP, opened in order; when one cannot be opened, those before it are closed again. */
import type { Planner } from '../boot/decide.ts'
import type { BootSource } from '../boot/source.ts'
import { reachableHost } from '../boot/urls.ts'
import type { Config } from '../config/schema.ts'
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
import { OpenPorts, openPlane, openTftp } from './open-ports.ts'
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

/** @throws MusterError listen-failed, naming the key of each port that cannot be opened. */
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
  const opening = new OpenPorts()
  ports.firmware = (await opening.try(() => openPlane(firmware, 'firmware', config.firmware))) ?? 0
  ports.agent = (await opening.try(() => openPlane(agent, 'agent', config.agent))) ?? 0

  if (config.tftp.enabled) {
    const tftp = stack.use(await startTftp(options))
    ports.tftp = await opening.try(() => openTftp(tftp, config.tftp, log))
  }

  const dhcp = await opening.try(() => openDhcp({ ...options, ...options.dhcp }))
  if (dhcp !== undefined) {
    ports.dhcp = stack.use(dhcp)
    watchDhcp(admin.metrics.registry, dhcp)
  }

  const place = await opening.try(() => admin.listen({ ...config.admin, socketPath: paths.socket }))
  opening.check()
  ports.admin = Number(new URL(place!.url).port)

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
