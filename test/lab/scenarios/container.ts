/** An operating system out of a Dockerfile: what it installs runs from memory, and says that it is there. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openLayout } from '../../../src/oci/layout.ts'
import type { Running } from '../../../src/serve.ts'
import { tool } from '../../support/tools.ts'
import { documentedDhcpLines } from '../dhcp-lines.ts'
import { checkRoad } from '../join.ts'
import { makeBridge, startDnsmasq } from '../network.ts'
import { rackJoins } from '../rack.ts'
import type { Scenarios } from '../scenario.ts'

const root = join(import.meta.dirname, '../../..')
const folder = join(root, '.cache/lab/debian-edge')
const layout = join(folder, 'container')
const system = join(folder, 'system')
const timeoutMs = 600_000

export const containerScenarios: Scenarios = {
  dockerfile: {
    about: 'images/debian-edge, built by buildah, boots from memory in 2 GiB: systemd comes up and reports',
    async prepare() {
      rmSync(folder, { recursive: true, force: true })
      mkdirSync(folder, { recursive: true })
      buildContainer()
      const args = [
        'image',
        'build',
        `${layout}:1`,
        '--out',
        system,
        '--append',
        'no_timer_check',
        'systemd.show_status=1',
      ]
      run(join(root, 'muster'), args, {
        MUSTER_DATA: join(folder, 'data'),
        MUSTER_CACHE: join(root, '.cache/muster'),
      })
    },
    async run() {
      const [tap] = makeBridge(1)
      await using _dhcp = await startDnsmasq(documentedDhcpLines())
      const [joined] = await rackJoins({
        machines: [{ name: 'edge', mac: '52:54:00:77:00:51', tap: tap as string, memoryMiB: 2048 }],
        prepare: publish,
        timeoutMs,
      })
      if (joined === undefined) throw new Error('nothing joined')
      const target = joined.events.find(({ kind }) => kind === 'plan')?.data['target']
      if (target !== 'hello/2.0.0/amd64') throw new Error(`the machine booted ${String(target)}`)
      // The report is the machine's own last line: the server often has it before the console shows it.
      checkRoad(joined.console, [/Reached target .*basic\.target/])
      return { seconds: joined.seconds }
    },
  },
}

/** As the newer release of the image that a first start gives to machines by itself. */
async function publish({ releases }: Running): Promise<void> {
  const source = await openLayout({ path: system })
  await releases.publish({ source, name: {}, image: 'hello', version: '2.0.0' })
}

/** There is no registry with debian:13 in reach, so mmdebstrap makes one; everything else is as its Dockerfile says. */
function buildContainer(): void {
  const [buildah, mmdebstrap] = [tool('buildah'), tool('mmdebstrap')]
  if (buildah === undefined || mmdebstrap === undefined)
    throw new Error('buildah and mmdebstrap are missing (Debian: apt-get install buildah mmdebstrap)')
  const storage = join(folder, 'storage')
  const environment = { STORAGE_DRIVER: 'vfs', BUILDAH_ISOLATION: 'chroot' }
  const places = ['--root', join(storage, 'root'), '--runroot', join(storage, 'run')]
  const build = (...words: string[]) => run(buildah, [...places, ...words], environment).trim()
  const base = join(folder, 'base.tar')
  run(mmdebstrap, [
    '--variant=minbase',
    '--mode=root',
    `--keyring=${join(root, 'images/agent/keys')}`,
    'trixie',
    base,
  ])
  const container = build('from', 'scratch')
  build('add', container, base, '/')
  build('config', '--env', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', container)
  build('commit', container, 'docker.io/library/debian:13')
  build('bud', '--pull=never', '--tag', 'localhost/debian-edge:1', join(root, 'images/debian-edge'))
  build('push', 'localhost/debian-edge:1', `oci:${layout}:1`)
  if (!existsSync(join(layout, 'index.json'))) throw new Error('buildah pushed no layout')
  rmSync(storage, { recursive: true, force: true })
}

/** @throws Error with the end of what it said */
function run(program: string, args: readonly string[], environment: Record<string, string> = {}): string {
  try {
    return execFileSync(program, args, {
      env: { ...process.env, ...environment },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 * 1024 * 1024,
    })
  } catch (error) {
    throw new Error(
      `${program} ${args.join(' ')}: ${String((error as { stderr?: string }).stderr).slice(-1500)}`,
    )
  }
}
