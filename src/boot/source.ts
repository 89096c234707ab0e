/**
 * Everything that firmware asks for by name: scripts written for one machine, and files. TFTP and HTTP come here with the same
 * names, and what is not there is remembered with who asked.
 */
import { errorCodeOf, MusterError } from '../errors.ts'
import { normaliseMac, normaliseSerial, normaliseUuid } from '../machines/identifiers.ts'
import type { Arch } from '../protocol/identifiers.ts'
import { type BootFile, type BootFiles, inMemory } from './files.ts'
import type { Claimed, DecideFirmware, Given } from './firmware.ts'
import { grubFirstScript, grubScript } from './languages/grub.ts'
import { type Choice, ipxeFirstScript, ipxeScript } from './languages/ipxe.ts'
import { pixiecoreAnswer } from './languages/pixiecore.ts'
import { pxelinuxConfig } from './languages/pxelinux.ts'
import { piCommandLine, piConfig, piInitramfs, piKernel } from './languages/raspberry-pi.ts'
import type { ScriptContext } from './languages/template.ts'
import { uBootFirstScript, uBootScript } from './languages/u-boot.ts'
import { isURoot, uRootScript } from './languages/u-root.ts'
import { type BootName, isProbe, parseBootName } from './names.ts'
import { printable } from './operator-files.ts'
import type { UnknownFiles } from './unknown-files.ts'
import { isIpv6, isLinkLocal, reachableHost } from './urls.ts'

export type BootClient = {
  address: string
  /** Local address of its connection; by TFTP the one that this server reaches it from. */
  serverAddress: string
  over: 'tftp' | 'http'
  userAgent?: string | undefined
}

/** One thing that firmware was given, for the machine's timeline. Who asked is only claimed. */
export type FirmwareActivity = Claimed & {
  at: Date
  address: string
  over: 'tftp' | 'http'
  what: 'script' | 'loader' | 'kernel' | 'initramfs' | 'firmware' | 'file'
  /** The name that was asked for. */
  detail: string
  /** Of a script: what it does. */
  gives?: Given['give'] | undefined
}

export type BootSource = {
  /** @throws MusterError file-not-found, access-denied, profile-invalid */
  open(name: string, client: BootClient): Promise<BootFile>
  /** iPXE's own question, with what it says of itself: attacker-controlled text. */
  ipxe(query: Readonly<Record<string, unknown>>, client: BootClient): Promise<string>
  /** What pixiecore's API answers (README.api.md, GET /v1/boot/<mac>). @throws MusterError file-not-found: ignore this machine */
  pixiecore(mac: string, client: BootClient): Promise<Record<string, unknown>>
}

/** iPXE's `${buildarch}` in our words. 32-bit builds run on 64-bit machines, and that is all that we have agents for. */
const iPxeArchitectures = new Map<string, Arch>([
  ['i386', 'amd64'],
  ['x86_64', 'amd64'],
  ['arm64', 'arm64'],
])

type LookedUp = Pick<FirmwareActivity, 'what' | 'gives'> & { file: BootFile; claimed?: Claimed }

export function createBootSource(options: {
  /** Host that machines reach this server at; undefined: the address they came to. */
  advertise: string | undefined
  /** Hosts that this server has, for machines that came to an address of one link alone. */
  ownHosts?: () => readonly string[]
  /** Kernel arguments of the boot agent. */
  agentArguments: (arch: Arch) => readonly string[]
  /** Other servers of the same machines, by the URLs of their planes: https://host:port, http://host:port */
  peers?: readonly { agent: string; firmware?: string | undefined }[]
  /** Ports that are really listened on. */
  ports: () => { firmware: number; agent: number }
  decide: DecideFirmware
  files: BootFiles
  unknown: Pick<UnknownFiles, 'record'>
  now: () => Date
  /** Called for everything that is given. */
  onActivity?: (activity: FirmwareActivity) => void
}): BootSource {
  const { advertise, decide, files, now, peers = [], ports, unknown } = options
  const elsewhere = peers.flatMap(({ firmware }) => firmware ?? [])
  const hostFor = (client: BootClient) => reachableHost({ advertise, serverAddress: client.serverAddress })

  /** Firmware may have come to a link-local address, which the agent could not use: it is told the others. */
  function agentHosts(client: BootClient): string[] {
    const others =
      advertise === undefined && isLinkLocal(client.serverAddress) ? (options.ownHosts?.() ?? []) : []
    const named = others.map((host) => reachableHost({ advertise: host, serverAddress: '' }))
    return named.length > 0 ? named : [hostFor(client)]
  }

  function contextFor(client: BootClient, mac: string | undefined): ScriptContext {
    const own = agentHosts(client).map((host) => `https://${host}:${ports().agent}`)
    const agentServers = [...own, ...peers.map(({ agent }) => agent)].join(',')
    const ipv6 = isIpv6(client.serverAddress)
    return { agentArguments: options.agentArguments, agentServers, elsewhere, mac, ipv6 }
  }

  function tell(
    client: BootClient,
    what: FirmwareActivity['what'],
    detail: string,
    claimed: Claimed = {},
    gives?: Given['give'],
  ): void {
    const { address, over } = client
    options.onActivity?.({ at: now(), ...claimed, address, over, what, detail: printable(detail), gives })
  }

  async function script(
    name: Extract<BootName, { kind: 'script' }>,
    client: BootClient,
  ): Promise<{ file: BootFile; gives: Given['give'] }> {
    const { arch, claimed, language } = name
    const given = await decide({ claimed, arch, address: client.address })
    // A better name follows: the machine's MAC address.
    if (name.search === true && given.machine === undefined) throw notFound('a machine of this UUID')
    const context = contextFor(client, claimed.mac)
    const write = { grub: grubScript, pxelinux: pxelinuxConfig, 'u-boot': uBootScript }[language]
    const written = write(given, context)
    return { file: inMemory(typeof written === 'string' ? Buffer.from(written) : written), gives: given.give }
  }

  async function raspberryPi(
    { claimed, file }: Extract<BootName, { kind: 'raspberry-pi' }>,
    client: BootClient,
  ): Promise<BootFile> {
    const given = await decide({ claimed, arch: 'arm64', address: client.address })
    // Nothing at all is there for a Pi that is to go on: it then tries the next mode of its BOOT_ORDER.
    if (given.give === 'skip') throw notFound(file, given.reason)
    if (file === 'config.txt') return inMemory(Buffer.from(piConfig(given)))
    if (file === 'cmdline.txt')
      return inMemory(Buffer.from(piCommandLine(given, contextFor(client, claimed.mac))))
    if (file === piKernel || file === piInitramfs) return piBoots(given, file)
    return files.raspberryPi(file)
  }

  async function piBoots(given: Exclude<Given, { give: 'skip' }>, file: string): Promise<BootFile> {
    const kernel = file === piKernel
    if (given.give === 'agent') return files.agent('arm64', kernel ? 'kernel' : 'initramfs')
    const path = kernel ? given.kernel : given.initrd[0]
    if (path === undefined) throw notFound(file)
    return files.operator(path)
  }

  async function firstScript(language: string, client: BootClient): Promise<BootFile> {
    if (language === 'u-boot')
      return inMemory(uBootFirstScript({ ipv6: isIpv6(client.serverAddress) }), 'application/octet-stream')
    if (language === 'grub') return inMemory(Buffer.from(grubFirstScript()))
    // It would take `chain` for nothing, and boot nothing; pxelinux.cfg/01-<mac>, which it asks for next, has what it wants.
    if (isURoot(client.userAgent)) throw notFound('autoexec.ipxe', 'u-root reads pxelinux.cfg')
    // By HTTP the next script is asked relative to this one. By TFTP iPXE knows the server as next-server, which is an IPv4 address.
    const known = advertise !== undefined || isIpv6(client.serverAddress)
    const host = known ? hostFor(client) : '$' + '{next-server}'
    const base = client.over === 'http' ? '' : `http://${host}:${ports().firmware}/boot/`
    return inMemory(Buffer.from(ipxeFirstScript(base, elsewhere)))
  }

  /** What a name leads to, what to call it in the timeline, and whose it is. */
  async function lookUp(text: string, client: BootClient): Promise<LookedUp> {
    const name = parseBootName(text)
    switch (name?.kind) {
      case 'first':
        return { what: 'script' as const, file: await firstScript(name.language, client) }
      case 'script':
        return { what: 'script' as const, claimed: name.claimed, ...(await script(name, client)) }
      case 'unsupported': {
        const reason = `there is no agent for ${name.processor}`
        const bytes = uBootScript({ give: 'skip', reason }, contextFor(client, undefined))
        return { what: 'script' as const, gives: 'skip' as const, file: inMemory(bytes) }
      }
      case 'raspberry-pi': {
        const { claimed, file } = name
        return { what: piWhat(file), claimed, file: await raspberryPi(name, client) }
      }
      case 'agent': {
        const what = name.file === 'initramfs' ? ('initramfs' as const) : ('kernel' as const)
        return { what, file: await files.agent(name.arch, name.file) }
      }
      case 'loader':
        return { what: 'loader' as const, file: await files.loader(name.file) }
      case 'operator':
        return { what: 'file' as const, file: await files.operator(name.file) }
      case undefined:
        throw notFound(text)
    }
  }

  return {
    async open(text, client) {
      try {
        const { claimed, file, gives, what } = await lookUp(text, client)
        tell(client, what, text, claimed, gives)
        return file
      } catch (error) {
        const code = errorCodeOf(error)
        const missing = code === 'file-not-found' || code === 'access-denied'
        if (missing && !isProbe(text))
          unknown.record({ name: text, address: client.address, over: client.over })
        throw error
      }
    },

    async ipxe(query, client) {
      const claimed = claimedBy(query)
      const context = contextFor(client, claimed.mac)
      const skip = (reason: string) => ipxeScript({ give: 'skip', reason }, context)
      if (claimed.mac === undefined) return skip('this machine did not say its MAC address')
      const buildarch = String(query['buildarch'] ?? '')
      const arch = buildarch === '' ? undefined : iPxeArchitectures.get(buildarch)
      if (arch === undefined && buildarch !== '') return skip(`there is no agent for ${buildarch}`)
      const given = await decide({ claimed, arch, address: client.address })
      tell(client, 'script', 'ipxe', claimed, given.give)
      if (isURoot(client.userAgent)) return uRootScript(given, context)
      return ipxeScript(given, context, choiceOf(query['choice']))
    },

    async pixiecore(text, client) {
      const mac = normaliseMac(text)
      if (mac === undefined) throw notFound(text)
      const given = await decide({ claimed: { mac }, address: client.address })
      if (given.give === 'skip') throw notFound(text, given.reason)
      tell(client, 'script', 'pixiecore', { mac }, given.give)
      return pixiecoreAnswer(given, contextFor(client, mac), `http://${hostFor(client)}:${ports().firmware}`)
    },
  }
}

/** UUID and serial number only help where no record has the MAC address. */
function claimedBy(query: Readonly<Record<string, unknown>>): Claimed {
  const text = (key: string) => (typeof query[key] === 'string' ? query[key] : '')
  const mac = normaliseMac(text('mac'))
  const uuid = normaliseUuid(text('uuid'))
  const serial = normaliseSerial(text('serial'))
  return {
    ...(mac === undefined ? {} : { mac }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(serial === undefined ? {} : { serial }),
  }
}

function choiceOf(value: unknown): Choice | undefined {
  return value === 'boot' || value === 'memtest' ? value : undefined
}

function piWhat(file: string): FirmwareActivity['what'] {
  if (file === 'config.txt' || file === 'cmdline.txt') return 'script'
  if (file === piKernel) return 'kernel'
  return file === piInitramfs ? 'initramfs' : 'firmware'
}

function notFound(name: string, reason?: string): MusterError {
  const because = reason === undefined ? '' : `: ${reason}`
  return new MusterError('file-not-found', `There is no file '${printable(name)}'${because}.`)
}
