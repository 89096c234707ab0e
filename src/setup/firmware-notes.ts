/** What firmware did by TFTP and HTTP, as lines of its machine's timeline. */
import type { FirmwareActivity } from '../boot/source.ts'
import type { FirmwareNote } from '../machines/firmware-activity.ts'
import type { Refusal, TransferReport } from '../tftp/reports.ts'

const steps: Readonly<Record<FirmwareActivity['what'], FirmwareNote['step']>> = {
  script: 'script',
  loader: 'loader',
  // A Raspberry Pi's second stage is to its boot ROM what iPXE is to a PC's.
  firmware: 'loader',
  kernel: 'kernel',
  initramfs: 'kernel',
  file: 'file',
}

const scripts = {
  agent: 'which starts the boot agent',
  skip: 'which goes on to the next boot device',
  unverified: 'which boots unverified files',
} as const

export function toFirmwareNote(activity: FirmwareActivity): FirmwareNote {
  const { address, detail, gives, mac, over, what } = activity
  const by = over === 'tftp' ? 'TFTP' : 'HTTP'
  const does = gives === undefined ? '' : `, ${scripts[gives]}`
  return {
    mac,
    address,
    over,
    step: steps[what],
    // Neither ever says hello.
    ...(gives === 'skip' || gives === 'unverified' ? { final: true } : {}),
    message: what === 'script' ? `${by}: read its script (${detail})${does}` : `${by}: fetched ${detail}`,
    data: { what, over, address, ...(gives === undefined ? {} : { gives }) },
  }
}

/**
 * A request that TFTP refused: undefined for a name that nobody knows, because clients try names that need not exist, and
 * `muster files unknown` has them. The name stands beside the sentence, not in it: it is attacker-controlled, and as many sentences
 * as there are names would push out what the machine really did.
 */
export function toRefusalNote({ client: { address }, code, filename }: Refusal): FirmwareNote | undefined {
  if (code === 'file-not-found') return undefined
  return {
    ...{ address, over: 'tftp', step: 'file' },
    message: `TFTP: a request was refused (${code})`,
    data: { code, name: filename, over: 'tftp', address },
  }
}

const endings: Partial<Record<TransferReport['outcome'], string>> = {
  'timed-out': 'did not arrive: the machine stopped answering',
  failed: 'did not arrive: it could not be read or sent here, and the log says why',
}

/**
 * A file that was asked for and did not arrive; undefined for every other end of a transfer. Firmware that gives a file up by an
 * ERROR means to: PXE ROMs ask for a size first, and the ROM of a Raspberry Pi 3 only tries what is there.
 */
export function toTransferNote({ outcome, request, sizeBytes }: TransferReport): FirmwareNote | undefined {
  const ending = endings[outcome]
  if (ending === undefined) return undefined
  const { client, filename } = request
  return {
    ...{ address: client.address, over: 'tftp', step: 'file' },
    message: `TFTP: ${filename} ${ending}`,
    data: { outcome, name: filename, sizeBytes, over: 'tftp', address: client.address },
  }
}
