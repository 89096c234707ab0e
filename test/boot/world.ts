/** A boot source over machines that the test names, with files that say their own name. */
import { inMemory } from '../../src/boot/files.ts'
import type { FirmwareFacts } from '../../src/boot/firmware.ts'
import { createFirmwareDecision } from '../../src/boot/firmware.ts'
import { type BootClient, createBootSource, type FirmwareActivity } from '../../src/boot/source.ts'
import { createUnknownFiles } from '../../src/boot/unknown-files.ts'
import { MusterError } from '../../src/errors.ts'
import { type ProfileInput, parseProfile } from '../../src/machines/profiles.ts'
import type { Machine } from '../../src/machines/records.ts'
import type { Arch } from '../../src/protocol/identifiers.ts'

type Named = {
  name: string
  mac?: string
  uuid?: string
  serial?: string
  arch?: Arch
  profile?: ProfileInput
  skip?: string
}

type Peers = NonNullable<Parameters<typeof createBootSource>[0]['peers']>

const profile: ProfileInput = { name: 'edge', image: { name: 'edge', channel: 'stable' } }

export function createSourceWorld(
  options: { machines?: Named[]; agents?: Arch[]; files?: string[]; advertise?: string; peers?: Peers } = {},
) {
  const { machines = [], agents = ['amd64', 'arm64'] } = options
  const activity: FirmwareActivity[] = []
  const unverified: string[][] = []
  let ms = Date.parse('2026-06-01T08:00:00Z')
  const now = () => new Date(ms)
  const facts: FirmwareFacts = {
    async findClaimed({ mac, serial, uuid }) {
      const found = machines.find(
        (each) =>
          (mac !== undefined && each.mac === mac) ||
          (uuid !== undefined && each.uuid === uuid) ||
          (serial !== undefined && each.serial === serial),
      )
      return found && ({ id: found.name, name: found.name, arch: found.arch ?? 'amd64' } as Machine)
    },
    async explain({ name }) {
      const found = machines.find((each) => each.name === name)
      if (found?.skip !== undefined) return { eligibility: { status: 'skip', reason: found.skip } }
      return {
        eligibility: { status: 'boot', profile: parseProfile(found?.profile ?? profile), because: [] },
      }
    },
    async recordUnverified(_, { files }) {
      unverified.push([...files])
    },
    hasAgent: async (arch) => agents.includes(arch),
  }
  const unknown = createUnknownFiles({
    limits: { namesMax: 16, namesPerAddressMax: 4, addressesMax: 2 },
    now,
  })
  const there = async (name: string) => {
    if (options.files?.includes(name) === false)
      throw new MusterError('file-not-found', `There is no file '${name}'.`)
    return inMemory(Buffer.from(`<${name}>`), 'application/octet-stream')
  }
  const source = createBootSource({
    advertise: options.advertise,
    ownHosts: () => ['192.0.2.1', '2001:db8::1'],
    agentArguments: () => ['console=ttyS0,115200'],
    ...(options.peers === undefined ? {} : { peers: options.peers }),
    ports: () => ({ firmware: 8080, agent: 8443 }),
    decide: createFirmwareDecision({ facts }),
    files: {
      agent: (arch, file) => there(`agent/${arch}/${file}`),
      loader: (name) => there(`loader/${name}`),
      operator: (name) => there(`files/${name}`),
      raspberryPi: (name) => there(`pi/${name}`),
    },
    unknown,
    now,
    onActivity: (one) => activity.push(one),
  })
  const tftp: BootClient = { address: '192.0.2.7', serverAddress: '192.0.2.1', over: 'tftp' }
  async function bytes(name: string, client: Partial<BootClient> = {}): Promise<Uint8Array> {
    const file = await source.open(name, { ...tftp, ...client })
    const read = await file.read(0, 1_000_000)
    await file.close()
    return read
  }
  return {
    source,
    unknown,
    activity,
    unverified,
    client: tftp,
    bytes,
    /** What firmware at 192.0.2.7 reads under this name. */
    async text(name: string, client: Partial<BootClient> = {}) {
      return Buffer.from(await bytes(name, client)).toString()
    },
    pass(passedMs: number) {
      ms += passedMs
    },
  }
}
