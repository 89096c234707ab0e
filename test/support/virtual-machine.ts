/**
 * A virtual PC with real firmware (SeaBIOS and QEMU's iPXE ROM) on QEMU's user network: no root, no bridge. The server on
 * the host's loopback is 10.0.2.2 to it. Software emulation, because a machine for CI has no KVM.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { skipReason, tool } from './tools.ts'

export type VirtualMachine = AsyncDisposable & {
  /** Everything the serial console said so far. */
  console(): string
  /** Calls back for each line of the console, without its line end. */
  onLine(listener: (line: string) => void): void
  /** Resolves with QEMU's exit code. */
  exited: Promise<number | null>
}

export type VirtualMachineOptions = {
  network:
    | {
        kind: 'user'
        /** What iPXE loads first, as the machine sees it: http://10.0.2.2:<port>/boot/autoexec.ipxe */
        bootUrl: string
      }
    /** A tap interface of this network namespace. */
    | { kind: 'tap'; name: string }
  memoryMiB: number
  /** 52:54:00:… */
  mac: string
  /** SMBIOS system UUID. */
  uuid?: string
  serial?: string
  /** Start of the machine's clock, `1970-01-01T00:00:00`; the host's time by default. */
  clock?: string
  /** QEMU's network card; its option ROM must carry iPXE. */
  card?: 'virtio-net-pci' | 'e1000' | 'e1000e'
}

const consoleCharsMax = 4_000_000

/** @throws Error when QEMU is not there. */
export function startVirtualMachine(options: VirtualMachineOptions): VirtualMachine {
  const qemu = tool('qemu-system-x86_64')
  if (qemu === undefined) throw new Error(skipReason('qemu-system-x86_64'))
  const { network, memoryMiB, mac, uuid, serial, clock, card = 'virtio-net-pci' } = options
  const smbios = [
    uuid === undefined ? [] : [`uuid=${uuid}`],
    serial === undefined ? [] : [`serial=${serial}`],
  ].flat()
  const child = spawn(
    qemu,
    [
      ['-accel', 'tcg,thread=multi'],
      ['-machine', 'pc,graphics=off'],
      // An old processor without fast `rep movsb`: the emulator checks every single write to a page that once held code, and
      // after a kexec most pages did, so copying by bytes costs half a minute.
      ['-cpu', 'Nehalem'],
      ['-smp', '1'],
      ['-m', String(memoryMiB)],
      ['-display', 'none'],
      ['-monitor', 'none'],
      ['-serial', 'stdio'],
      ['-boot', 'n'],
      ['-no-reboot'],
      ['-device', 'virtio-rng-pci'],
      [
        '-netdev',
        network.kind === 'user'
          ? `user,id=net0,bootfile=${network.bootUrl}`
          : `tap,id=net0,ifname=${network.name},script=no,downscript=no`,
      ],
      ['-device', `${card},netdev=net0,mac=${mac}`],
      ...(smbios.length === 0 ? [] : [['-smbios', `type=1,${smbios.join(',')}`]]),
      ...(clock === undefined ? [] : [['-rtc', `base=${clock}`]]),
    ].flat(),
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  return watch(child)
}

function watch(child: ChildProcess): VirtualMachine {
  const lines = new EventEmitter()
  let text = ''
  let rest = ''
  const hear = (chunk: Buffer) => {
    // Firmware moves its cursor about; only what a person would read is kept.
    const plain = chunk.toString('latin1').replace(/\x1b\[[0-9;?]*[A-Za-z]|\x1b[c78]|\r/g, '')
    text = (text + plain).slice(-consoleCharsMax)
    const parts = (rest + plain).split('\n')
    rest = parts.pop() ?? ''
    for (const line of parts) lines.emit('line', line)
  }
  child.stdout?.on('data', hear)
  child.stderr?.on('data', hear)
  const exited = once(child, 'exit').then(([code]) => {
    if (rest !== '') lines.emit('line', rest)
    return code as number | null
  })
  return {
    console: () => text,
    onLine: (listener) => void lines.on('line', listener),
    exited,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) child.kill('SIGKILL')
      await exited
    },
  }
}
