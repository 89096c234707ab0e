/**
 * Which script a machine's firmware gets. At this point everything the machine says is a claim by plain HTTP: the answer
 * only chooses between "load the agent", "go on" and, where a profile says so, an unverified kernel. What it really boots is
 * decided with its agent (boot/decide.ts).
 */
import { MusterError } from '../errors.ts'
import { normaliseMac } from '../machines/identifiers.ts'
import type { Profile } from '../machines/profiles.ts'
import type { Machine } from '../machines/records.ts'
import type { RecordUnverified } from '../machines/unverified.ts'
import type { Explanation } from '../machines/why.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { ipxeScript } from './script.ts'
import { reachableHost } from './urls.ts'

export type FirmwareFacts = {
  findByMac(mac: string): Promise<Machine | undefined>
  explain(machine: Machine): Promise<Pick<Explanation, 'eligibility'>>
  recordUnverified: RecordUnverified
  /** Whether an agent for this architecture is here to be loaded. */
  hasAgent(arch: Arch): Promise<boolean>
}

/** iPXE's `${buildarch}` in our words. 32-bit builds run on 64-bit machines, and that is all that we have agents for. */
const architectures = new Map<string, Arch>([
  ['i386', 'amd64'],
  ['x86_64', 'amd64'],
  ['arm64', 'arm64'],
])

export function createFirmwareScripts(options: {
  /** Host that machines reach this server at; undefined: the address they came to. */
  advertise: string | undefined
  /** Kernel arguments of the boot agent. */
  agentArguments: readonly string[]
  /** Ports that are really listened on. */
  ports: () => { firmware: number; agent: number }
  facts: FirmwareFacts
}) {
  const { advertise, agentArguments, facts, ports } = options
  return {
    /** `base`: URL that the next script is asked below, with a slash at its end; empty: relative to this one. */
    autoexec: (base: string) => ipxeScript('autoexec', {}, { base }),

    /** The first script by TFTP: iPXE knows the server it was loaded from as `next-server`. */
    autoexecOverTftp() {
      const host = advertise ?? '$' + '{next-server}'
      return ipxeScript('autoexec', {}, { base: `http://${host}:${ports().firmware}/boot/` })
    },

    async machine(
      query: Readonly<Record<string, unknown>>,
      client: { address: string; serverAddress: string },
    ): Promise<string> {
      const mac = normaliseMac(String(query['mac'] ?? ''))
      if (mac === undefined) return skip('this machine did not say its MAC address')
      const arch = architectures.get(String(query['buildarch'] ?? 'x86_64'))
      if (arch === undefined) return skip(`there is no agent for ${String(query['buildarch'])}`)
      const machine = await facts.findByMac(mac)
      const eligibility = machine === undefined ? undefined : (await facts.explain(machine)).eligibility
      if (machine !== undefined && eligibility?.status === 'skip') return skip(eligibility.reason)
      if (
        machine !== undefined &&
        eligibility?.status === 'boot' &&
        eligibility.profile.unverified === true
      ) {
        const { name: profile, files } = eligibility.profile
        const given = [files?.kernel ?? '', ...(files?.initrd ?? [])].map((path) => `files/${path}`)
        await facts.recordUnverified(machine, { profile, files: given, address: client.address })
        return unverified(machine, eligibility.profile)
      }
      if (!(await facts.hasAgent(arch))) {
        return skip(`this server has no agent for ${arch} yet; 'muster status' there says what is missing`)
      }
      const host = reachableHost({ advertise, serverAddress: client.serverAddress })
      return ipxeScript('agent', {
        reason:
          machine === undefined
            ? `${mac} is new here; starting the boot agent`
            : `${machine.name}: starting the boot agent`,
        arch,
        arguments: agentArguments.join(' '),
        server: `https://${host}:${ports().agent}`,
      })
    },
  }
}

function skip(reason: string): string {
  return ipxeScript('skip', { reason })
}

function unverified(machine: Machine, profile: Profile): string {
  const { kernel, initrd } = profile.files ?? { kernel: '', initrd: [] }
  return ipxeScript(
    'unverified',
    {
      reason: `profile ${profile.name} gives ${machine.name} ${kernel}`,
      arguments: profile.arguments.join(' '),
    },
    {
      kernel: ipxePath(kernel),
      initrdArgument: initrd.map((_, index) => `initrd=initrd${index}`).join(' '),
      initrdLine: initrd
        .map((path, index) => `initrd --name initrd${index} ${ipxePath(path)} || goto failed`)
        .join('\n'),
    },
  )
}

/** A path in a script: the one place where the encoder's replacements would name another file, so it is refused instead. */
function ipxePath(path: string): string {
  if (/^[A-Za-z0-9._/-]+$/.test(path)) return `../files/${path}`
  throw new MusterError(
    'profile-invalid',
    `The file name '${path.slice(0, 80)}' has characters that iPXE reads as syntax; rename it to letters, digits and . _ - /`,
  )
}
