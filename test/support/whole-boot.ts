/**
 * A whole boot: a server of its own, a virtual machine with real firmware, and, where a fault is asked for, an attacker
 * between them. Ends when the machine joined, when it refused twice, or when nothing happens any more.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ApiClient, apiPath } from '../../src/cli/api-client.ts'
import { loadConfig } from '../../src/config/load.ts'
import { MusterError } from '../../src/errors.ts'
import type { Status } from '../../src/http/admin-status.ts'
import { type Log, silentLog } from '../../src/log.ts'
import type { MachineEvent } from '../../src/machines/records.ts'
import { type Running, serve } from '../../src/serve.ts'
import { madeAgents } from '../../src/setup/made-agents.ts'
import { standBetween } from './between.ts'
import { createTimelineLines, measures, waitsFor } from './boot-measures.ts'
import { type Fault, faults } from './faults.ts'
import { firmwareKinds } from './firmware-kinds.ts'
import { toVictim } from './victim.ts'
import { startVirtualMachine, type VirtualMachine, type VirtualMachineOptions } from './virtual-machine.ts'

export type WholeBootOptions = {
  /** Settings by dotted key, over those of a throwaway server. */
  settings?: Readonly<Record<string, string>>
  fault?: string
  network?: VirtualMachineOptions['network']
  /** Its firmware, network card and the like; SeaBIOS by default. */
  machine?: Pick<VirtualMachineOptions, 'firmware' | 'road' | 'variables' | 'card' | 'typed' | 'outgoing'>
  direct?: VirtualMachineOptions['direct']
  memoryMiB?: number
  mac?: string
  /** Where Debian packages and finished images are kept between runs. */
  cache?: string
  timeoutMs?: number
  /** With a throwaway server, once it has made what it serves. */
  prepare?(running: Running): Promise<void>
  /** A line of the console by which firmware refuses what it was given: the boot ends as `refused`. */
  refusedBy?: RegExp | undefined
  /** Prints each line of the machine's console. */
  showConsole?: boolean
  log?: Log
  /** Boots from this server, which runs already, instead of a throwaway one. Without faults. */
  attach?: ApiClient
  print(line: string): void
}

export type WholeBoot = {
  outcome: 'joined' | 'refused' | 'booted' | 'other-code' | 'crashed' | 'timeout'
  /** For a person. */
  cause: string
  /** Codes on the machine's console, in order. */
  codes: string[]
  events: MachineEvent[]
  /** What the agent told of itself: sizes, milliseconds, peak memory. */
  seconds: { step: string; seconds: number }[]
  /** How long it waited for a person; not in `seconds`. */
  waitedSeconds: number
  peakMemoryBytes: number | undefined
  agent: AgentSizes
  console: string
}

/** `hardware`: whose drivers it has, by what its server wrote beside it. */
export type AgentSizes = { kernelBytes: number; initramfsBytes: number; hardware?: string | undefined }

/** Refusals that a fault run waits for: the first, and that of one retry. */
const refusalsWanted = 2
const preparedPollMs = 500
/** A kernel that ends like this says nothing more: waiting longer tells nothing. */
const kernelCrash = /Kernel panic|Oops: |kernel BUG at/
/** The first line of every Linux: a second one on the console means that something was kexeced. */
const firstKernelLine = /Linux version \d/g

export async function bootWholly(options: WholeBootOptions): Promise<WholeBoot> {
  const { attach, memoryMiB = 1024, mac = '52:54:00:6d:75:01', timeoutMs = 240_000, print } = options
  const fault = options.fault === undefined ? undefined : faultNamed(options.fault)
  await using stack = new AsyncDisposableStack()
  const server = attach === undefined ? await throwaway(stack, options) : await attached(attach, mac, print)
  const port = fault === undefined ? server.firmwarePort : await attack(stack, server, fault, options)

  const events: MachineEvent[] = []
  const started = Date.now()
  const toLine = createTimelineLines(started)
  stack.defer(
    server.subscribe((event) => {
      events.push(event)
      const line = toLine(event)
      if (line !== undefined) print(line)
    }),
  )
  const machine = stack.use(
    startVirtualMachine({
      network: options.network ?? { kind: 'user', bootUrl: `http://10.0.2.2:${port}/boot/autoexec.ipxe` },
      memoryMiB,
      mac,
      uuid: '6d757374-6572-4b6f-8000-5254006d7501',
      serial: 'MUSTER-TEST-1',
      ...options.machine,
      ...(options.direct === undefined ? {} : { direct: options.direct }),
      ...(fault?.clock === undefined ? {} : { clock: fault.clock }),
    }),
  )
  if (options.showConsole === true) machine.onLine((line) => print(`| ${line}`))
  const end = await watch(machine, events, fault, { timeoutMs, refusedBy: options.refusedBy })
  return { ...end, events, console: machine.console(), ...measures(events, started), agent: server.agent }
}

/** Puts the attacker between; gives the port that the machine has to come to. */
async function attack(
  stack: AsyncDisposableStack,
  server: BootServer,
  fault: Fault,
  options: WholeBootOptions,
): Promise<number> {
  const { folder, running } = server
  if (running === undefined || folder === undefined)
    throw new Error('A fault wants a throwaway server: stop the one that runs, or give another --data.')
  const { victim, tls, attach } = await toVictim(running, options.fault as string, folder)
  await fault.prepare?.(victim)
  const ports = { firmwarePort: running.ports.firmware, agentPort: running.ports.agent }
  const between = stack.use(
    await standBetween({ server: ports, tls, meddler: fault.meddler?.(victim) ?? {} }),
  )
  attach(between)
  options.print(`fault ${options.fault}: ${fault.about}; expected: ${fault.expected}`)
  return between.firmwarePort
}

function faultNamed(name: string): Fault {
  const fault = faults[name]
  if (fault === undefined)
    throw new Error(`There is no fault '${name}'. Faults: ${Object.keys(faults).join(', ')}`)
  return fault
}

/** What a boot needs of a server, of either kind. */
type BootServer = {
  firmwarePort: number
  agent: AgentSizes
  subscribe(listener: (event: MachineEvent) => void): () => void
  running?: Running
  folder?: string
}

/** A server of its own that has made what it serves. @throws Error with what it lacks */
export async function throwaway(stack: AsyncDisposableStack, options: WholeBootOptions): Promise<BootServer> {
  const folder = await mkdtemp(join(tmpdir(), 'muster-boot-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const { arch } = firmwareKinds[options.machine?.firmware ?? 'bios']
  const flags: Record<string, string> = {
    'image.architectures': arch,
    data: join(folder, 'data'),
    cache: options.cache ?? join(import.meta.dirname, '../../.cache/muster'),
    'firmware.host': '127.0.0.1',
    'firmware.port': '0',
    'agent.host': '127.0.0.1',
    'agent.port': '0',
    'admin.port': '0',
    'agent.pollSeconds': '1',
    'tftp.enabled': 'false',
    'store.verifyOnOpen': options.fault === undefined ? 'true' : 'false',
    ...options.settings,
  }
  options.print(
    'starting a server of its own for this boot (its agent and image are made from cached packages)',
  )
  const running = stack.use(
    await serve({ loaded: loadConfig({ env: {}, flags }), log: options.log ?? silentLog, print: () => {} }),
  )
  await running.prepared
  const missing = running.missing()
  if (missing.length > 0) {
    const sentences = missing.map(({ what, reason }) => `${what} is missing: ${reason}`)
    throw new MusterError('build-failed', sentences.join('\n'))
  }
  await options.prepare?.(running)
  const made = (await madeAgents(running.paths)).find((agent) => agent.arch === arch)
  if (made === undefined) throw new MusterError('file-not-found', `No agent for ${arch} was made.`)
  return {
    firmwarePort: running.ports.firmware,
    agent: made,
    subscribe: running.machines.subscribe,
    running,
    folder,
  }
}

/** A server that runs already, by its admin plane; of its events only those of this machine. */
async function attached(api: ApiClient, mac: string, print: (line: string) => void): Promise<BootServer> {
  const status = await preparedStatus(api, print)
  const url = status.planes.find(({ name }) => name === 'firmware')?.url
  const agent = status.agents.find(({ arch }) => arch === 'amd64')
  if (url === undefined || agent === undefined) {
    const reasons = [...new Set(status.missing.map(({ reason }) => reason))]
    throw new MusterError(
      'file-not-found',
      `The server has no agent for amd64 to boot: ${reasons.join(' ') || 'image.architectures lacks it'}`,
    )
  }
  return {
    firmwarePort: Number(new URL(url).port || 80),
    agent,
    subscribe: await watchMachine(api, mac),
  }
}

/**
 * The events of one machine from now on, by the admin plane. What its firmware did stands before `discovered` in the record of a
 * machine that nobody knew (machines/admission.ts), so it is known by its MAC address, as `discovered` is.
 */
export async function watchMachine(api: ApiClient, mac: string): Promise<BootServer['subscribe']> {
  const known = await api
    .call<{ id: string }>({ method: 'GET', path: apiPath('machines', mac) })
    .catch(() => undefined)
  let machineId = known?.id
  const { items } = await api.call<{ items: MachineEvent[] }>({
    method: 'GET',
    path: '/events',
    query: { limit: 1 },
  })
  const isOurs = ({ data, kind }: MachineEvent) =>
    (kind === 'discovered' && (data['macs'] as string[] | undefined)?.includes(mac) === true) ||
    (kind === 'firmware' && data['mac'] === mac)
  return (listener) => {
    const stop = new AbortController()
    void (async () => {
      for await (const line of api.lines({
        method: 'GET',
        path: '/events/watch',
        query: { after: items[0]?.id ?? 0 },
        signal: stop.signal,
      })) {
        const event = line as MachineEvent
        if (event.machineId !== undefined && isOurs(event)) machineId = event.machineId
        if (event.machineId !== undefined && event.machineId === machineId) listener(event)
      }
    })().catch(() => {})
    return () => stop.abort()
  }
}

/** Waits for a server that was just started, and is still making what machines boot. */
async function preparedStatus(api: ApiClient, print: (line: string) => void): Promise<Status> {
  for (let told = false; ; told = true) {
    const status = await api.call<Status>({ method: 'GET', path: '/status' })
    const underWay = status.missing.filter(({ code }) => code === 'preparing').map(({ what }) => what)
    if (underWay.length === 0) return status
    if (!told) print(`the server is making ${underWay.join(', ')}`)
    await sleep(preparedPollMs)
  }
}

/** Waits for the end of the story. */
function watch(
  machine: VirtualMachine,
  events: MachineEvent[],
  fault: Fault | undefined,
  { timeoutMs, refusedBy }: Pick<WholeBootOptions, 'refusedBy'> & { timeoutMs: number },
): Promise<Pick<WholeBoot, 'outcome' | 'cause' | 'codes'>> {
  const codes: string[] = []
  return new Promise((resolve) => {
    const finish = (outcome: WholeBoot['outcome'], cause: string) => {
      clearTimeout(timer)
      clearInterval(poll)
      resolve({ outcome, cause, codes })
    }
    const timer = setTimeout(() => {
      const waits = waitsFor(events)
      if (waits !== undefined) return finish('timeout', `after ${timeoutMs / 1000} s ${waits}`)
      finish(
        'timeout',
        `nothing was decided within ${timeoutMs / 1000} s; the console ends with:\n${machine.console().slice(-2000)}`,
      )
    }, timeoutMs)
    const poll = setInterval(() => {
      if (events.some(({ data }) => data['outcome'] === 'joined'))
        finish('joined', 'the booted system reported in')
    }, 100)
    machine.onLine((line) => {
      if (refusedBy?.test(line)) return finish('refused', line.trim())
      const kernels = machine.console().match(firstKernelLine)?.length ?? 0
      if (fault !== undefined && fault.expected !== 'joined' && kernels > 1)
        return finish('booted', 'a second kernel started')
      if (kernelCrash.test(line))
        return finish('crashed', `the emulated machine's kernel crashed: ${line.trim()}`)
      const code = /muster: (?:refused|failed): ([a-z-]+):/.exec(line)?.[1]
      if (code === undefined) return
      codes.push(code)
      if (fault === undefined) return finish('other-code', line.trim())
      if (fault.expected === 'joined') return
      if (code !== fault.expected) return finish('other-code', line.trim())
      if (codes.length >= refusalsWanted) finish('refused', line.trim())
    })
    void machine.exited.then((status) =>
      finish(
        'timeout',
        `the virtual machine ended (${status}); its console ends with:\n${machine.console().slice(-2000)}`,
      ),
    )
  })
}
