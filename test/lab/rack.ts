/** Several machines of one server at once, each on a tap of its own: all are switched on together, and all have to join. */
import type { MachineEvent } from '../../src/machines/records.ts'
import type { Running } from '../../src/serve.ts'
import { createTimelineLines, type Measures, measures } from '../support/boot-measures.ts'
import {
  startVirtualMachine,
  type VirtualMachine,
  type VirtualMachineOptions,
} from '../support/virtual-machine.ts'
import { throwaway } from '../support/whole-boot.ts'
import { labSettings } from './join.ts'

export type RackMachine = Pick<VirtualMachineOptions, 'mac' | 'firmware' | 'road'> & {
  name: string
  tap: string
  memoryMiB?: number
}

export type Joined = Measures & {
  name: string
  /** From switching on to the report. */
  totalSeconds: number
  events: readonly MachineEvent[]
  console: string
}

export type RackOptions = {
  machines: readonly RackMachine[]
  settings?: Readonly<Record<string, string>>
  /** Once the server has made what it serves, before the machines are switched on. */
  prepare?(running: Running): Promise<void>
  /** What a console said until now, a few times in a second: firmware ends no line while it downloads. */
  onConsole?(machine: string, console: string): void
  /** For all of them together. */
  timeoutMs: number
  /** What of each machine's timeline is printed; by default all of it. */
  prints?: (event: MachineEvent) => boolean
}

const consolePollMs = 50
/** As by default, and without the test of the timer that a starved emulator fails (src/builder/hello-image.ts). */
const agentArguments = 'console=tty0,console=ttyAMA0,console=ttyS0,no_timer_check'
/** A kernel that ends like this says nothing more. */
const kernelCrash = /Kernel panic|Oops: |kernel BUG at/

/** @throws Error naming every machine that did not join, and how its console ends */
export async function rackJoins(options: RackOptions): Promise<Joined[]> {
  const { machines, timeoutMs, prepare, prints = () => true } = options
  await using stack = new AsyncDisposableStack()
  const server = await throwaway(stack, {
    settings: { ...labSettings, 'image.arguments': agentArguments, ...options.settings },
    print: console.log,
    ...(prepare === undefined ? {} : { prepare }),
  })
  const started = Date.now()
  const toLine = createTimelineLines(started)
  const timelines = createTimelines(machines, (name, event) => {
    const line = prints(event) ? toLine(event) : undefined
    if (line !== undefined) console.log(`${name.padEnd(10)} ${line}`)
  })
  stack.defer(server.subscribe(timelines.take))
  const ends = machines.map(async ({ name, tap, memoryMiB = 1024, ...rest }): Promise<Joined> => {
    const number = rest.mac.slice(-2)
    const machine = stack.use(
      startVirtualMachine({
        ...rest,
        memoryMiB,
        network: { kind: 'tap', name: tap },
        uuid: `6d757374-6572-4b6f-8000-5254007700${number}`,
        serial: `MUSTER-LAB-${number}`,
      }),
    )
    // `LAB_CONSOLE=1 npm run lab -- SCENARIO` shows what a person at the machines would see.
    if (process.env['LAB_CONSOLE'] === '1')
      machine.onLine((line) => console.log(`${name.padEnd(10)} | ${line}`))
    const events = () => timelines.of(rest.mac)
    const look = setInterval(() => options.onConsole?.(name, machine.console()), consolePollMs)
    try {
      await untilJoined(machine, events, timeoutMs)
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).message}\n${machine.console().slice(-1500)}`)
    } finally {
      clearInterval(look)
    }
    const totalSeconds = (Date.now() - started) / 1000
    return {
      name,
      totalSeconds,
      events: events(),
      console: machine.console(),
      ...measures(events(), started),
    }
  })
  const settled = await Promise.allSettled(ends)
  const failed = settled.flatMap((end) => (end.status === 'rejected' ? [(end.reason as Error).message] : []))
  if (failed.length > 0)
    throw new Error(`${failed.length} of ${machines.length} did not join\n${failed.join('\n')}`)
  return settled.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []))
}

/** Each event to the machine that it is of: `discovered` says which MAC address a record is of, and what came before waits. */
function createTimelines(
  machines: readonly RackMachine[],
  tell: (name: string, event: MachineEvent) => void,
) {
  const byRecord = new Map<string, MachineEvent[]>()
  const recordOf = new Map<string, string>()
  return {
    take(event: MachineEvent): void {
      const { machineId } = event
      if (machineId === undefined) return
      const events = byRecord.get(machineId) ?? []
      events.push(event)
      byRecord.set(machineId, events)
      const macs = event.kind === 'discovered' ? ((event.data['macs'] as string[] | undefined) ?? []) : []
      for (const mac of macs) recordOf.set(mac, machineId)
      const known = machines.find(({ mac }) => recordOf.get(mac) === machineId)
      tell((machines.length === 1 ? machines[0] : known)?.name ?? '', event)
    },
    of: (mac: string): readonly MachineEvent[] => byRecord.get(recordOf.get(mac) ?? '') ?? [],
  }
}

async function untilJoined(
  machine: VirtualMachine,
  events: () => readonly MachineEvent[],
  timeoutMs: number,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const end = (error?: Error) => {
      clearTimeout(timer)
      clearInterval(poll)
      if (error === undefined) resolve()
      else reject(error)
    }
    const timer = setTimeout(
      () => end(new Error(`it did not join within ${timeoutMs / 1000} s; its console ends with:`)),
      timeoutMs,
    )
    const poll = setInterval(() => {
      if (events().some(({ data }) => data['outcome'] === 'joined')) end()
    }, 100)
    machine.onLine((line) => {
      if (kernelCrash.test(line)) end(new Error(`its kernel crashed: ${line.trim()}`))
    })
    void machine.exited.then((status) => end(new Error(`QEMU ended (${status}); its console ends with:`)))
  })
}
