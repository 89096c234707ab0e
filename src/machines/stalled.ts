/**
 * "It hangs, and nothing says why": what a boot was last heard of with, how long that usually takes, and the most likely cause in
 * words. Pure: steps with times in, a sentence out.
 *
 *     dhcp ─▶ loader ─▶ script ─▶ kernel ─▶ hello ─▶ … ─▶ kexec ─▶ report
 *     └────── by firmware, only claimed ──┘ └─ by the agent, signed ┘
 */
import type { Step } from '../protocol/events.ts'

/** What firmware is seen doing before any agent says hello. */
export type FirmwareStep = 'dhcp' | 'loader' | 'script' | 'kernel'
export type BootStep = FirmwareStep | Step

/** One thing that was heard of a boot. `over`: how a file was fetched. */
export type HeardStep = { step: BootStep; atMs: number; over?: 'tftp' | 'http' }

/** How long each step may be silent, in milliseconds. */
export type ExpectedMs = Readonly<Record<BootStep, number>>

/** What is known of the place, for better guesses. */
export type StallFacts = {
  /** What the agent has drivers for (image.hardware). */
  hardware: 'virtual' | 'server'
  ports: { firmware: number; agent: number; tftp: number | undefined }
}

export type Stall = { step: BootStep; silentSeconds: number; cause: string }

/** @returns undefined while the last step is within its time, after a report, and where nothing was heard at all. */
export function findStall(
  heard: readonly HeardStep[],
  expectedMs: ExpectedMs,
  facts: StallFacts,
  nowMs: number,
): Stall | undefined {
  const last = heard.toSorted((one, other) => one.atMs - other.atMs).at(-1)
  if (last === undefined || last.step === 'report') return undefined
  const silentMs = nowMs - last.atMs
  if (silentMs <= expectedMs[last.step]) return undefined
  return {
    step: last.step,
    silentSeconds: Math.round(silentMs / 1000),
    cause: causes[last.step](facts, last, heard),
  }
}

export function stallSentence({ cause, silentSeconds, step }: Stall): string {
  return `nothing was heard for ${silentSeconds} s after '${step}': ${cause}`
}

type Cause = (facts: StallFacts, last: HeardStep, heard: readonly HeardStep[]) => string

/** What each step waits for, and why that usually does not come. */
const causes: Readonly<Record<BootStep, Cause>> = {
  dhcp: ({ ports }) =>
    ports.tftp === 69
      ? 'it was given an address and a file name, but asked for no file: another DHCP server may have answered first, or UDP port 69 is blocked on the way'
      : `it was given an address and a file name, but asked for no file: PXE ROMs ask at UDP port 69 only, and TFTP ${ports.tftp === undefined ? 'is off here' : `listens on ${ports.tftp}`}`,
  loader: ({ ports }, _, heard) => {
    const again = heard.filter(({ step }) => step === 'loader').length > 2
    return again
      ? 'its loader was fetched again and again: the DHCP server gives an iPXE that runs already its loader instead of its script, or the firmware refuses the loader (Secure Boot)'
      : `its loader was fetched and asked for no script: TCP port ${ports.firmware} may be blocked, the loader has no driver for this card, or the firmware refuses to start it (Secure Boot)`
  },
  script: ({ ports }, { over }) =>
    over === 'tftp'
      ? `it read its script by TFTP and fetched no kernel: what the script names is asked for at TCP port ${ports.firmware}, which may be blocked`
      : "it read its script and fetched no kernel: a person may be at its menu, or 'muster files unknown' says what it asked for in vain",
  kernel: ({ hardware, ports }) =>
    `the agent's kernel was fetched, and no agent said hello: it cannot reach TCP port ${ports.agent}, has no driver for this network card${hardware === 'virtual' ? ' (image.hardware is virtual, which has none for real ones)' : ''}, or memory was too small to unpack it`,
  network: () => 'the agent has an address and gets no further: its console says what it waits for',
  hello: ({ ports }) =>
    `it said hello and asked for no plan: the connection to TCP port ${ports.agent} broke off, or the machine was switched off`,
  approval: () =>
    'it waited to be approved and stopped asking: the machine was switched off or lost its network',
  plan: ({ ports }) =>
    `it has its plan and fetched no metadata: TCP port ${ports.firmware} may be blocked between the agent and this server`,
  metadata: () =>
    'it is silent since it fetched metadata: a mirror of its policy may not answer, and each try takes a while',
  manifest: () =>
    'it is silent since it fetched the manifest: the machine may be out of memory, or was switched off',
  blobs: () =>
    'its download stands still: the link is bad or very slow, a mirror stopped sending, or the machine was switched off',
  kexec: ({ ports }) =>
    `the operating system was started and did not report in: its kernel may have no driver for this machine or panic, its network may not come up, or it cannot reach TCP port ${ports.agent}; look at its console`,
  report: () => 'it reported in',
}
