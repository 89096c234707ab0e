/** What firmware did by TFTP and HTTP, as lines of its machine's timeline. */
import type { FirmwareActivity } from '../boot/source.ts'
import type { FirmwareNote } from '../machines/firmware-activity.ts'

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
