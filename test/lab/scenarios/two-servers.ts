/**
 * Two servers for one rack, as docs/followers.md tells people to set them up: the second follows the first and has its plan key,
 * and each is the other's peer. The first dies in the middle of a boot, by SIGKILL, and the machine joins at the second.
 */
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createApiClient } from '../../../src/cli/api-client.ts'
import { adminSocketName } from '../../../src/http/admin-socket.ts'
import type { Status } from '../../../src/http/admin-status.ts'
import { loadTlsIdentity } from '../../../src/http/tls.ts'
import type { MachineEvent } from '../../../src/machines/records.ts'
import type { Running } from '../../../src/serve.ts'
import { demonstrationProfile, helloImage } from '../../../src/setup/first-start.ts'
import { type ServerProcess, startServerProcess } from '../../support/muster-process.ts'
import { checkRoad, labSettings } from '../join.ts'
import { addNamespace, makeBridge, required, serverAddress, startDnsmasq } from '../network.ts'
import { type Joined, rackJoins } from '../rack.ts'
import type { Scenarios } from '../scenario.ts'

const cache = join(import.meta.dirname, '../../../.cache/muster')
const firstAddress = '10.77.0.2'
/** Agents and the image are made meanwhile. */
const preparedWithinMs = 180_000

/** Two ways to watch for the moment: what the first server is told, and what the machine's console says. */
type Moment = { event?: (event: MachineEvent) => boolean; console?: (text: string) => boolean }

export const twoServersScenarios: Scenarios = {
  'two-servers': {
    about:
      'the first of two servers is killed while the agent downloads the image: the second boots the machine',
    run: () =>
      diesAt(
        {
          event: ({ kind, data }) =>
            kind === 'step' && data['step'] === 'blobs' && data['status'] === 'progress',
        },
        [
          `tftp://${firstAddress}`,
          `hello: .*, at https://${firstAddress}:8443`,
          'blobs: fetching',
          'failed: blob-unavailable',
          `hello: .*, at https://${serverAddress}:8443`,
          'kexec: starting hello/1.0.0/amd64',
        ],
      ),
  },
  'two-servers-loader': {
    about:
      'the first of two servers is killed while iPXE downloads the agent: iPXE begins again at the second',
    run: () =>
      diesAt({ console: (text) => text.includes('agent/amd64/initramfs') }, [
        `tftp://${firstAddress}`,
        'the boot agent could not be loaded',
        `http://${serverAddress}:8080/boot/autoexec.ipxe`,
        `hello: .*, at https://${serverAddress}:8443`,
        'kexec: starting hello/1.0.0/amd64',
      ]),
  },
}

async function diesAt(moment: Moment, road: readonly string[]): Promise<Joined> {
  const [tap] = makeBridge(1)
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'muster-two-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const { first, settings } = await startFirst(stack, folder)
  stack.use(await startDnsmasq([`dhcp-boot=autoexec.ipxe,muster,${firstAddress}`]))
  let killed = false
  const kill = () => {
    if (killed) return
    killed = true
    console.log(`killing the first server, process ${first.child.pid}`)
    void first.kill()
  }
  const watching = watchFirst(join(folder, 'first'), (event) => {
    if (moment.event?.(event) === true) kill()
  })
  const [joined] = await rackJoins({
    machines: [{ name: 'machine', mac: '52:54:00:77:00:31', tap: tap as string }],
    settings,
    prepare: approveHello,
    onConsole(_, text) {
      if (moment.console?.(text) === true) kill()
    },
    timeoutMs: 400_000,
  })
  if (!killed) throw new Error('the first server was never killed: the machine joined without that moment')
  await watching
  checkRoad(
    joined?.console ?? '',
    road.map((sign) => new RegExp(sign)),
  )
  return joined as Joined
}

/** The first of the two, in a namespace of its own, and what the second is started with. */
async function startFirst(
  stack: AsyncDisposableStack,
  folder: string,
): Promise<{ first: ServerProcess; settings: Record<string, string> }> {
  const [firstData, secondData] = [join(folder, 'first'), join(folder, 'second')]
  const pins = []
  for (const data of [firstData, secondData]) {
    await mkdir(join(data, 'keys'), { recursive: true })
    pins.push((await loadTlsIdentity(join(data, 'keys'))).pin)
  }
  const peer = (address: string, pin: string | undefined) =>
    JSON.stringify({ [`https://${address}:8443`]: { pin, firmware: `http://${address}:8080` } })
  const other = stack.use(addNamespace('first', [{ bridge: 'br0', address: `${firstAddress}/24` }]))
  const first = stack.use(
    await startServerProcess(firstData, {
      wrapper: [required('ip'), 'netns', 'exec', other.name],
      settings: {
        ...labSettings,
        advertise: firstAddress,
        cache,
        'image.prepare': 'true',
        'agent.peers': peer(serverAddress, pins[1]),
      },
    }),
  )
  console.log(
    `the first server is at ${firstAddress}, process ${first.child.pid}; it makes its agent and image`,
  )
  await prepared(firstData)
  await mkdir(join(secondData, 'keys/main'), { recursive: true, mode: 0o700 })
  await copyFile(join(firstData, 'keys/main/plan.pem'), join(secondData, 'keys/main/plan.pem'))
  const settings = {
    data: secondData,
    'releases.upstream.url': `http://${firstAddress}:8080/tuf/main`,
    'releases.upstream.root': join(firstData, 'tuf/main/metadata/1.root.json'),
    'agent.peers': peer(firstAddress, pins[0]),
  }
  return { first, settings }
}

async function prepared(data: string): Promise<void> {
  const api = createApiClient({ kind: 'socket', path: join(data, adminSocketName) })
  const giveUpAtMs = Date.now() + preparedWithinMs
  for (;;) {
    const { missing, ready } = await api.call<Status>({ method: 'GET', path: '/status' })
    if (ready) return
    if (Date.now() > giveUpAtMs) throw new Error(missing.map(({ reason }) => reason).join('\n'))
    await sleep(200)
  }
}

/** The second has the release before the machine is switched on, and a profile of its own for it. */
async function approveHello(second: Running): Promise<void> {
  const offered = () => {
    try {
      return second.releases.catalog().image(helloImage) !== undefined
    } catch {
      return false
    }
  }
  for (const giveUpAtMs = Date.now() + 60_000; !offered(); await sleep(100))
    if (Date.now() > giveUpAtMs) throw new Error('the second server did not follow the first')
  await second.machines.profiles.put(demonstrationProfile)
}

/** Ends with the server. */
async function watchFirst(data: string, listener: (event: MachineEvent) => void): Promise<void> {
  const api = createApiClient({ kind: 'socket', path: join(data, adminSocketName) })
  try {
    for await (const line of api.lines({ method: 'GET', path: '/events/watch' }))
      listener(line as MachineEvent)
  } catch {
    // It was killed.
  }
}
