/** One release for two kinds of machines: an image index, published once, from which each boots what is made for it. */
import { documentedDhcpLines } from '../dhcp-lines.ts'
import { checkRoad } from '../join.ts'
import { makeBridge, serverAddress, startDnsmasq } from '../network.ts'
import { type Joined, rackJoins } from '../rack.ts'
import type { Measured, Scenarios } from '../scenario.ts'

const release = 'hello/1.0.0'
const timeoutMs = 900_000

export const multiArchScenarios: Scenarios = {
  'multi-arch': {
    about: `a PC (SeaBIOS, iPXE) and an arm64 machine (AAVMF, HTTP Boot) boot ${release} from one image index`,
    architectures: ['amd64', 'arm64'],
    async run() {
      const [pc, board] = makeBridge(2)
      // AAVMF tries PXE first whatever it is told, and gives up at once where DHCP names no file for it.
      const dhcp = documentedDhcpLines().filter((line) => !line.includes('tag:arm64,'))
      await using _dhcp = await startDnsmasq(dhcp)
      let offered: Record<string, string> = {}
      const joined = await rackJoins({
        machines: [
          { name: 'amd64', mac: '52:54:00:77:00:41', tap: pc as string },
          {
            name: 'arm64',
            mac: '52:54:00:77:00:42',
            tap: board as string,
            firmware: 'uefi-arm64',
            road: 'http',
          },
        ],
        // What the first start makes for both is published in one go.
        settings: { 'image.architectures': 'amd64,arm64' },
        prepare: async () => {
          offered = await indexedDigests()
        },
        timeoutMs,
      })
      for (const { name, console, events } of joined) {
        const plan = events.find(({ kind }) => kind === 'plan')?.data
        if (plan?.['target'] !== `${release}/${name}` || plan['digest'] !== offered[name])
          throw new Error(
            `the ${name} machine booted ${String(plan?.['target'])}, ${String(plan?.['digest'])}, not ${offered[name]}`,
          )
        const processor = { amd64: 'x86_64', arm64: 'aarch64' }[name] as string
        // The agent's other lines are on the screen alone, where the kernel knows no serial port as its console.
        checkRoad(console, ['muster agent: started', new RegExp(`muster hello: running on .*${processor}`)])
      }
      return together(joined)
    },
  },
}

/** What any registry client is given under the release's tag: the manifest of each architecture. */
async function indexedDigests(): Promise<Record<string, string>> {
  const answer = await fetch(`http://${serverAddress}:8080/v2/${release.replace('/', '/manifests/')}`)
  const { mediaType, manifests = [] } = (await answer.json()) as {
    mediaType?: string
    manifests?: { digest: string; platform: { architecture: string } }[]
  }
  if (mediaType !== 'application/vnd.oci.image.index.v1+json' || manifests.length !== 2)
    throw new Error(`${release} is no index of two manifests: ${answer.status} ${mediaType}`)
  return Object.fromEntries(manifests.map(({ digest, platform }) => [platform.architecture, digest]))
}

/** The slower of the two, step by step. */
function together(joined: readonly Joined[]): Measured {
  const steps = new Map<string, number>()
  for (const { step, seconds } of joined.flatMap((one) => one.seconds))
    steps.set(step, Math.max(steps.get(step) ?? 0, seconds))
  return { seconds: [...steps].map(([step, seconds]) => ({ step, seconds })) }
}
