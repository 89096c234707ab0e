/**
 * A virtual machine with real firmware (firmware-kinds.ts), on QEMU's user network or on a tap of a lab's. On the user network there
 * is no root and no bridge: the server on the host's loopback is 10.0.2.2 to it. Software emulation, because a machine for CI has
 * no KVM.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { type FirmwareKind, type FirmwareRow, firmwareKinds } from './firmware-kinds.ts'
import { type OutgoingFrames, standBehindCard } from './outgoing-frames.ts'
import { dataFile, skipReason, tool } from './tools.ts'

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
  /** SeaBIOS by default. */
  firmware?: FirmwareKind
  /** UEFI: whether its network stack tries PXE or HTTP Boot. Both by default, PXE first, which takes a minute to give up. */
  road?: 'pxe' | 'http'
  /** UEFI: a file of variables to start with instead of the factory's, for Secure Boot's keys. */
  variables?: string
  /** Loaded by QEMU itself instead of by firmware: what a machine with LinuxBoot has in its flash. */
  direct?: { kernel: string; initrd: string; append: string }
  /** QEMU's network card. */
  card?: 'virtio-net-pci' | 'e1000' | 'e1000e'
  /** What a person types on the serial console, in this order, each once the console has said `at`. */
  typed?: readonly Typed[]
  /** What becomes of each Ethernet frame that the machine sends. */
  outgoing?: (frame: Buffer) => Buffer
}

export type Typed = { at: string; text: string }

const consoleCharsMax = 4_000_000

/** @throws Error when QEMU or the firmware is not there. */
export function startVirtualMachine(options: VirtualMachineOptions): VirtualMachine {
  const firmware = firmwareKinds[options.firmware ?? 'bios']
  const qemu = tool(firmware.program)
  if (qemu === undefined) throw new Error(skipReason(firmware.program))
  const { network, memoryMiB, mac, uuid, serial, clock, direct, card = 'virtio-net-pci' } = options
  const smbios = [
    uuid === undefined ? [] : [`uuid=${uuid}`],
    serial === undefined ? [] : [`serial=${serial}`],
  ].flat()
  // Under UEFI the order of boot devices is told by `bootindex`; the option ROM would bring iPXE's driver in front of the firmware's.
  const frames = options.outgoing === undefined ? undefined : standBehindCard(options.outgoing)
  const nic = firmware.driver === 'firmware' ? `${card},romfile=,bootindex=0` : card
  const child = spawn(
    qemu,
    [
      ['-accel', 'tcg,thread=multi'],
      ['-machine', firmware.machine],
      ['-cpu', firmware.processor],
      ['-smp', '1'],
      ['-m', String(memoryMiB)],
      ['-display', 'none'],
      ['-monitor', 'none'],
      ['-serial', 'stdio'],
      ['-no-reboot'],
      ['-device', 'virtio-rng-pci'],
      ...firmwareArguments(firmware, options),
      [
        '-netdev',
        network.kind === 'user'
          ? `user,id=net0,bootfile=${network.bootUrl}`
          : `tap,id=net0,ifname=${network.name},script=no,downscript=no${frames === undefined ? '' : ',vnet_hdr=off'}`,
      ],
      ...(frames?.qemuArguments ?? []),
      ['-device', `${nic},netdev=net0,mac=${mac}`],
      ...(smbios.length === 0 ? [] : [['-smbios', `type=1,${smbios.join(',')}`]]),
      ...(clock === undefined ? [] : [['-rtc', `base=${clock}`]]),
      ...(direct === undefined
        ? []
        : [['-kernel', direct.kernel, '-initrd', direct.initrd, '-append', direct.append]]),
    ].flat(),
    { stdio: ['pipe', 'pipe', 'pipe'] },
  )
  return watch(child, options.typed ?? [], frames)
}

function firmwareArguments(row: FirmwareRow, options: VirtualMachineOptions): string[][] {
  const { road, variables } = options
  const { flash, image, more = [] } = row
  const uefi =
    flash === undefined
      ? []
      : [
          ['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${found(flash.code, row)}`],
          [
            '-drive',
            `if=pflash,unit=1,format=raw,snapshot=on,file=${variables ?? found(flash.variables, row)}`,
          ],
          // EDK2 asks by IPv6 too, for minutes, where nobody answers (OvmfPkg, PxeBcPcdProducerLib).
          ['-fw_cfg', 'name=opt/org.tianocore/IPv6PXESupport,string=n'],
          ...(road === 'http' ? [['-fw_cfg', 'name=opt/org.tianocore/IPv4PXESupport,string=n']] : []),
        ]
  return [...uefi, image === undefined ? [] : ['-bios', found(image, row)], [...more]]
}

function found(path: string, { about, data = '' }: FirmwareRow): string {
  const file = dataFile(path)
  if (file === undefined) throw new Error(`${about} is missing: ${skipReason(data)}`)
  return file
}

function watch(child: ChildProcess, typed: readonly Typed[], frames?: OutgoingFrames): VirtualMachine {
  const lines = new EventEmitter()
  const type = createTyping(typed, (keys) => child.stdin?.write(keys))
  let text = ''
  let rest = ''
  const hear = (chunk: Buffer) => {
    // Firmware moves its cursor about; only what a person would read is kept.
    const plain = chunk.toString('latin1').replace(/\x1b\[[0-9;?]*[A-Za-z]|\x1b[c78]|\r/g, '')
    text = (text + plain).slice(-consoleCharsMax)
    type(plain)
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
      await frames?.[Symbol.asyncDispose]()
    },
  }
}

/** Calls `press` with each text once what it waits for was said, after what the one before waited for. */
function createTyping(typed: readonly Typed[], press: (keys: string) => void): (said: string) => void {
  const waiting = [...typed]
  let unread = ''
  return (said) => {
    if (waiting.length === 0) return
    unread += said
    for (let [next] = waiting; next !== undefined; [next] = waiting) {
      const at = unread.indexOf(next.at)
      if (at < 0) return
      unread = unread.slice(at + next.at.length)
      waiting.shift()
      press(next.text)
    }
  }
}
