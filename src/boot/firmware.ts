/**
 * What a machine's firmware gets. At this point everything the machine says is a claim, by plain HTTP or TFTP: the answer only
 * chooses between "load the agent", "go on" and, where a profile says so, an unverified kernel. What it really boots is
 * decided with its agent (boot/decide.ts). Each language of boot/languages/ says the same answer in its own words.
 */
import type { FirmwareMenu, FirmwareSettings } from '../machines/profiles.ts'
import type { Machine } from '../machines/records.ts'
import type { RecordUnverified } from '../machines/unverified.ts'
import type { Explanation } from '../machines/why.ts'
import type { Arch } from '../protocol/identifiers.ts'

/** What a machine says of itself by the names it asks for: normalised, and only claimed. */
export type Claimed = { mac?: string; uuid?: string; serial?: string }

export type Given =
  | {
      give: 'agent'
      arch: Arch
      reason: string
      /** The name of a machine that has a record. */
      machine?: string
      firmware?: FirmwareSettings | undefined
      menu?: FirmwareMenu | undefined
    }
  | { give: 'skip'; reason: string; machine?: string }
  | {
      give: 'unverified'
      arch: Arch
      reason: string
      machine: string
      kernel: string
      initrd: string[]
      arguments: string[]
      firmware?: FirmwareSettings | undefined
      menu?: FirmwareMenu | undefined
    }

export type FirmwareFacts = {
  /** The record that fits; undefined where none does, or more than one. */
  findClaimed(claimed: Claimed): Promise<Machine | undefined>
  explain(machine: Machine): Promise<Pick<Explanation, 'eligibility'>>
  recordUnverified: RecordUnverified
  /** Whether an agent for this architecture is here to be loaded. */
  hasAgent(arch: Arch): Promise<boolean>
}

export type Asked = {
  claimed: Claimed
  /** What the firmware said of its processor; undefined where its request has no place for that. */
  arch?: Arch | undefined
  address: string
}

export type DecideFirmware = (asked: Asked) => Promise<Given>

export function createFirmwareDecision(options: { facts: FirmwareFacts }): DecideFirmware {
  const { facts } = options

  /** A name that carries no architecture: what the record says, else whichever agent is here. */
  async function architecture(asked: Asked, machine: Machine | undefined): Promise<Arch> {
    if (asked.arch !== undefined) return asked.arch
    if (machine !== undefined) return machine.arch
    return (await facts.hasAgent('amd64')) || !(await facts.hasAgent('arm64')) ? 'amd64' : 'arm64'
  }

  return async (asked) => {
    const machine = await facts.findClaimed(asked.claimed)
    const eligibility = machine === undefined ? undefined : (await facts.explain(machine)).eligibility
    if (machine !== undefined && eligibility?.status === 'skip')
      return { give: 'skip', reason: eligibility.reason, machine: machine.name }
    const profile = eligibility?.status === 'boot' ? eligibility.profile : undefined
    const arch = await architecture(asked, machine)
    const own = { firmware: profile?.firmware, menu: profile?.menu }
    if (machine !== undefined && profile?.unverified === true) {
      const { kernel, initrd } = profile.files ?? { kernel: '', initrd: [] }
      const given = [kernel, ...initrd].map((path) => `files/${path}`)
      await facts.recordUnverified(machine, { profile: profile.name, files: given, address: asked.address })
      const reason = `profile ${profile.name} gives ${machine.name} ${kernel}`
      const { arguments: args } = profile
      return {
        give: 'unverified',
        arch,
        reason,
        machine: machine.name,
        kernel,
        initrd,
        arguments: args,
        ...own,
      }
    }
    if (!(await facts.hasAgent(arch))) {
      const reason = `this server has no agent for ${arch} yet; 'muster status' there says what is missing`
      return { give: 'skip', reason }
    }
    if (machine === undefined) {
      const { mac, uuid, serial } = asked.claimed
      const said = mac ?? uuid ?? serial
      const reason =
        said === undefined ? 'starting the boot agent' : `${said} is new here; starting the boot agent`
      return { give: 'agent', arch, reason }
    }
    return {
      give: 'agent',
      arch,
      reason: `${machine.name}: starting the boot agent`,
      machine: machine.name,
      ...own,
    }
  }
}
