/** Each way in which a boot is refused or fails, with its code, and that no kernel is ever started then. */
import { describe, expect, test } from 'vitest'
import { mediaTypes } from '../../src/oci/manifest.ts'
import type { Plan } from '../../src/protocol/plan.ts'
import { createSigner, generatePrivateKey } from '../../src/signing/keys.ts'
import { failureOf, type Meddle, World } from './world.ts'

type Case = { title: string; code: string; prepare: (world: World) => void; kind?: 'failed' }

async function refusedBy(prepare: (world: World) => void) {
  await using world = new World()
  world.release()
  await world.listen()
  prepare(world)
  const { lines, code, started } = await world.boot()
  return {
    lines,
    code,
    started,
    events: world.events,
    consoles: world.consoles,
    loaded: world.has('kexec.log'),
  }
}

function check(cases: readonly Case[]): void {
  test.each(cases)('$title: $code', async ({ code, prepare, kind }) => {
    const found = await refusedBy(prepare)
    const line = found.lines.find((one) => failureOf([one]) !== undefined)
    expect(line).toMatch(new RegExp(`^muster: ${kind ?? 'refused'}: ${code}: .+\\.$`))
    expect(found.started).toBe(false)
  })
}

const plan = (change: object | ((plan: Plan) => object)) => (world: World) => {
  world.changePlan = (honest) => ({ ...honest, ...(typeof change === 'function' ? change(honest) : change) })
}
const otherwise = (text: string) => text.replace(/^./, (first) => (first === '0' ? '1' : '0'))

describe('a plan is refused', () => {
  check([
    {
      title: 'signed by a key that metadata does not delegate to',
      code: 'plan-signature',
      prepare: (world) => {
        const stranger = createSigner(generatePrivateKey())
        world.changePlanReply = (reply) => {
          const { envelope } = reply as { envelope: { payload: string } }
          const payload = JSON.parse(Buffer.from(envelope.payload, 'base64').toString())
          return { status: 'boot', envelope: world.envelope(payload, stranger) }
        }
      },
    },
    {
      title: 'changed after it was signed',
      code: 'plan-signature',
      prepare: (world) => {
        world.changePlanReply = (reply) => {
          const { envelope } = reply as { envelope: { payload: string } }
          const payload = Buffer.from(envelope.payload, 'base64')
            .toString()
            .replace('console=ttyS0', 'console=ttyS1')
          return {
            status: 'boot',
            envelope: { ...envelope, payload: Buffer.from(payload).toString('base64') },
          }
        }
      },
    },
    { title: 'without a target', code: 'plan-invalid', prepare: plan({ target: undefined }) },
    { title: 'of another version', code: 'plan-invalid', prepare: plan({ version: 2 }) },
    {
      title: 'for a mode that this agent does not know',
      code: 'plan-invalid',
      prepare: plan({ mode: 'install' }),
    },
    { title: 'for another machine', code: 'plan-machine', prepare: plan({ machine: 'm-bbbbbbbbbbbbbbbb' }) },
    {
      title: "with another hello's nonce",
      code: 'plan-nonce',
      prepare: plan(({ nonce }) => ({ nonce: otherwise(nonce) })),
    },
    {
      title: 'for another boot of this machine',
      code: 'plan-nonce',
      prepare: plan({ boot: 'b-zzzzzzzzzzzzzzzz' }),
    },
    {
      title: 'for a hello with other identifiers or another session key',
      code: 'plan-nonce',
      prepare: plan(({ hello }) => ({ hello: otherwise(hello) })),
    },
    {
      title: "that expired before the agent's floor",
      code: 'plan-expired',
      prepare: plan({ issuedAt: '2025-12-01T00:00:00Z', expires: '2025-12-01T00:10:00Z' }),
    },
    {
      title: 'that expires before it was issued',
      code: 'plan-invalid',
      prepare: plan({ expires: '2026-06-01T11:00:00Z' }),
    },
    {
      title: 'that knows newer metadata than the mirror has',
      code: 'metadata-rollback',
      prepare: plan(({ minTimestampVersion }) => ({ minTimestampVersion: minTimestampVersion + 1 })),
    },
    { title: 'of another repository', code: 'policy-refused', prepare: plan({ repository: 'other' }) },
    {
      title: 'for an image outside of the policy',
      code: 'policy-refused',
      prepare: plan({ target: 'debug/1.0.0/amd64' }),
    },
    { title: 'with init=', code: 'argument-refused', prepare: plan({ arguments: ['init=/bin/sh'] }) },
    {
      title: 'with an argument in which others hide',
      code: 'argument-refused',
      prepare: plan({ arguments: ['muster.x=1 -- init=/x'] }),
    },
    {
      title: 'with an argument outside of the policy',
      code: 'argument-refused',
      prepare: plan({ arguments: ['root=/dev/sda'] }),
    },
    {
      title: 'with a file that leaves its folder',
      code: 'file-refused',
      prepare: plan({ files: [{ name: '../init', mode: 0o755, bytes: '' }] }),
    },
    {
      title: 'with a symbolic link',
      code: 'file-refused',
      prepare: plan({ files: [{ name: 'link', mode: 0o120777, bytes: '' }] }),
    },
    {
      title: 'with a device node',
      code: 'file-refused',
      prepare: plan({ files: [{ name: 'mem', mode: 0o020600, bytes: '' }] }),
    },
  ])
})

const release = (options: Parameters<World['release']>[0]) => (world: World) => {
  world.release(options)
}

describe('a release is refused', () => {
  check([
    {
      title: 'that nobody signed',
      code: 'target-not-found',
      prepare: plan({ target: 'hello/6.6.6/amd64' }),
    },
    {
      title: 'whose manifest is not the one that the plan was made from',
      code: 'manifest-mismatch',
      prepare: plan({ manifestDigest: `sha256:${'6'.repeat(64)}` }),
    },
    {
      title: 'signed without its custom data',
      code: 'target-invalid',
      prepare: release({ custom: { oci: 'x' } }),
    },
    {
      title: 'signed as another version',
      code: 'target-invalid',
      prepare: release({ custom: { version: '2.0.0' } }),
    },
    {
      title: 'signed for another architecture',
      code: 'target-invalid',
      prepare: release({ custom: { arch: 'arm64' } }),
    },
    {
      title: 'with a critical member that this agent does not know',
      code: 'target-invalid',
      prepare: release({ custom: { critical: ['quorum'], quorum: 3 } }),
    },
    {
      title: 'for other hardware',
      code: 'policy-refused',
      prepare: release({ custom: { hardwareIds: ['pine64,rockpro64'] } }),
    },
    {
      title: 'that is an agent, which would bring a policy of its own',
      code: 'policy-refused',
      prepare: release({ custom: { kind: 'agent' } }),
    },
    {
      title: 'for a newer agent',
      code: 'policy-refused',
      prepare: release({ custom: { minAgent: '0.2.0' } }),
    },
    {
      title: 'below the floor of the plan',
      code: 'release-below-floor',
      prepare: plan({ minReleaseCounter: 2 }),
    },
    {
      title: "below the floor of the agent's policy",
      code: 'release-below-floor',
      prepare: (world) => world.policy({ minReleaseCounters: { hello: 2 } }),
    },
    {
      title: 'below the floor of its channel, although plan and metadata allow it',
      code: 'release-below-floor',
      prepare: (world) => world.channel(2),
    },
    {
      title: "whose channel's document is another image's",
      code: 'channel-invalid',
      prepare: (world) => world.channel(1, { image: 'other' }),
    },
    {
      title: "whose channel's document says its floor twice",
      code: 'channel-invalid',
      prepare: (world) => {
        const document =
          '{"image":"hello","channel":"stable","version":"9.0.0","releaseCounter":9,"manifests":{},' +
          '"minReleaseCounter":9,"minReleaseCounter":0}'
        world.target('hello/channel/stable', Buffer.from(document), { kind: 'channel' })
      },
    },
    {
      title: 'whose manifest has both layers and manifests',
      code: 'manifest-invalid',
      prepare: release({ manifest: { manifests: [] } }),
    },
    { title: 'without a kernel', code: 'manifest-invalid', prepare: release({ manifest: { layers: [] } }) },
    {
      title: 'whose manifest says another architecture',
      code: 'manifest-mismatch',
      prepare: release({ manifest: { annotations: { 'vnd.muster.architecture': 'arm64' } } }),
    },
    {
      title: 'whose manifest is of another media type than signed',
      code: 'manifest-invalid',
      prepare: release({ manifest: { mediaType: mediaTypes.dockerManifest } }),
    },
  ])
})

const metadata = (name: RegExp, answer: ReturnType<Meddle>) => (world: World) => {
  world.meddle = ({ path }) => (name.test(path) ? answer : undefined)
}

describe('metadata is refused', () => {
  check([
    {
      title: 'with an expired timestamp',
      code: 'metadata-expired',
      prepare: (world) => world.sign({ timestamp: -1 }),
    },
    {
      title: 'with a timestamp that only an older clock would accept',
      code: 'metadata-expired',
      prepare: (world) => {
        // The plan is of today, so the machine's clock and the agent's floor do not matter.
        world.nowMs = Date.parse('2026-02-01T00:00:00Z')
        world.sign()
        world.nowMs = Date.parse('2026-06-01T00:00:00Z')
      },
    },
    {
      title: 'of another root',
      code: 'metadata-signature',
      prepare: (world) => {
        const signer = () => createSigner(generatePrivateKey())
        Object.assign(world.signers, { targets: signer(), snapshot: signer(), timestamp: signer() })
        world.sign()
      },
    },
    {
      title: 'that is a login page',
      code: 'metadata-invalid',
      prepare: metadata(/timestamp/, { body: Buffer.from('<html>') }),
    },
    {
      title: 'that never ends',
      code: 'metadata-too-large',
      prepare: metadata(/timestamp/, { body: Buffer.alloc(1_000_000, ' ') }),
    },
    {
      title: 'that no mirror has',
      code: 'metadata-unavailable',
      kind: 'failed',
      prepare: metadata(/timestamp/, { status: 404 }),
    },
  ])

  test('whose targets are older than the agent, under snapshot and timestamp of today: metadata-rollback', async () => {
    await using world = new World()
    world.release()
    await world.listen()
    const version = world.timestampVersion
    world.channel(2)
    world.policy({ minTargetsVersion: world.timestampVersion })
    world.showOldTargets(version)
    world.changePlan = (honest) => ({ ...honest, minReleaseCounter: 0 })
    expect(await world.boot()).toMatchObject({ code: 'metadata-rollback', started: false })
    world.policy({ minTargetsVersion: version })
    expect((await world.boot()).started).toBe(true)
  })

  test('that is older than what an earlier round saw: metadata-rollback', async () => {
    await using world = new World()
    world.release()
    await world.listen()
    const old = new Map(world.files)
    world.sign()
    world.changePlan = (honest) => ({ ...honest, minTimestampVersion: 1, target: 'hello/9.9.9/amd64' })
    await world.boot()
    for (const [path, bytes] of old) world.files.set(path, bytes)
    expect((await world.boot()).code).toBe('metadata-rollback')
  })
})

const blobs = (size: number, answer: (count: number) => ReturnType<Meddle>) => (world: World) => {
  const wanted = [...world.files].find(
    ([path, { length }]) => path.includes('/blobs/') && length === size,
  )![0]
  world.meddle = ({ path, count }) => (path === wanted ? answer(count) : undefined)
}
const kernelBytes = 300_000
const initrdBytes = 500_000

describe('content is refused', () => {
  check([
    {
      title: 'with one flipped bit',
      code: 'blob-digest',
      prepare: blobs(kernelBytes, () => ({ body: Buffer.alloc(kernelBytes, 'kernel ').fill(0, 1000, 1001) })),
    },
    {
      title: 'of another release',
      code: 'blob-digest',
      prepare: blobs(initrdBytes, () => ({ body: Buffer.alloc(initrdBytes, 'others ') })),
    },
    {
      title: 'that says it is longer',
      code: 'blob-too-long',
      prepare: blobs(kernelBytes, () => ({ body: Buffer.alloc(kernelBytes + 1) })),
    },
    {
      title: 'that ends too early',
      code: 'blob-truncated',
      prepare: blobs(kernelBytes, () => ({ body: Buffer.alloc(65_536) })),
    },
    {
      title: 'that no mirror has',
      code: 'blob-unavailable',
      kind: 'failed',
      prepare: blobs(kernelBytes, () => ({ status: 404 })),
    },
    {
      title: 'whose manifest has another byte',
      code: 'blob-digest',
      prepare: (world) => {
        world.meddle = ({ path }) => {
          const hex = /\/targets\/hello\/1\.0\.0\/([0-9a-f]{64})\.amd64$/.exec(path)?.[1]
          const bytes = world.files.get(`/tuf/main/blobs/sha256/${hex}`)
          return bytes && { body: Buffer.from(bytes.map((byte, index) => (index === 20 ? byte ^ 1 : byte))) }
        }
      },
    },
  ])

  test('that never ends, at the first byte too many: blob-too-long', async () => {
    let sent = 0
    const found = await refusedBy((world) => {
      blobs(kernelBytes, () => undefined)(world)
      const wanted = [...world.files].find(([, { length }]) => length === kernelBytes)![0]
      world.meddle = ({ path }, response) => {
        if (path !== wanted) return undefined
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536))) sent += 65_536
        }
        response.on('drain', more)
        response.writeHead(200)
        more()
        return 'taken'
      }
    })
    expect(found.code).toBe('blob-too-long')
    expect(sent).toBeLessThan(64 * 1024 * 1024)
    expect(found.loaded).toBe(false)
  })

  test('that trickles slower than the least rate: blob-unavailable', async () => {
    const found = await refusedBy((world) => {
      blobs(kernelBytes, () => undefined)(world)
      const wanted = [...world.files].find(([, { length }]) => length === kernelBytes)![0]
      world.meddle = ({ path, count }, response) => {
        if (path !== wanted) return undefined
        if (count > 1) return { status: 404 }
        response.writeHead(200, { 'content-length': kernelBytes })
        response.write('a')
        return 'taken'
      }
    })
    expect(found.code).toBe('blob-unavailable')
  })
})

describe('the machine and its server', () => {
  check([
    {
      title: 'another key than the pinned one',
      code: 'server-pin',
      prepare: (world) => {
        world.config = { ...world.config, pins: [`sha256//${Buffer.alloc(32).toString('base64')}`] }
      },
    },
    {
      title: 'nobody listens',
      code: 'server-unreachable',
      kind: 'failed',
      prepare: (world) => {
        world.config = { ...world.config, servers: ['https://127.0.0.1:1'] }
      },
    },
    {
      title: 'the server has enough machines',
      code: 'server-refused',
      kind: 'failed',
      prepare: metadata(/hello$/, {
        status: 429,
        body: Buffer.from(JSON.stringify({ code: 'limit-reached', detail: 'Too many undecided machines.' })),
      }),
    },
    {
      title: 'the server answers with something else',
      code: 'server-refused',
      kind: 'failed',
      prepare: (world) => {
        world.changeReply = (reply) => ({ ...reply, boot: '../../x' })
      },
    },
    {
      title: 'the server serves another repository',
      code: 'server-refused',
      kind: 'failed',
      prepare: (world) => {
        world.changeReply = (reply) => ({ ...reply, repository: 'other' })
      },
    },
    {
      title: 'more than half of the memory',
      code: 'memory-too-small',
      kind: 'failed',
      prepare: (world) => world.write('proc/meminfo', 'MemTotal: 1500 kB\nMemAvailable: 1400 kB\n'),
    },
    {
      title: 'not enough free for the files and the copy of them that kexec makes',
      code: 'memory-too-small',
      kind: 'failed',
      prepare: (world) => world.write('proc/meminfo', 'MemTotal: 99000 kB\nMemAvailable: 34000 kB\n'),
    },
    {
      title: 'more than the policy allows',
      code: 'memory-too-small',
      kind: 'failed',
      prepare: (world) => world.policy({ maxImageBytes: 800_000 }),
    },
    {
      title: 'kexec fails',
      code: 'kexec-failed',
      kind: 'failed',
      prepare: (world) => world.program('kexec', 'echo "Cannot determine the file type" >&2; exit 255'),
    },
    {
      title: 'Secure Boot locks kexec down',
      code: 'kexec-locked-down',
      kind: 'failed',
      prepare: (world) => {
        world.write('sys/kernel/security/lockdown', 'none [integrity] confidentiality\n')
        world.program('kexec', 'echo "kexec_file_load failed: Operation not permitted" >&2; exit 255')
      },
    },
    {
      title: 'Secure Boot locks down a kernel that knows only the older way to kexec',
      code: 'kexec-locked-down',
      kind: 'failed',
      prepare: (world) => {
        world.write('sys/kernel/security/lockdown', 'none [integrity] confidentiality\n')
        world.program(
          'kexec',
          `case "$*" in
-s*) echo 'syscall kexec_file_load not available.' ;;
*) echo 'kexec_load failed: Operation not permitted' ;;
esac >&2
exit 255`,
        )
      },
    },
    {
      title: 'the kernel is signed by a key that this one does not trust',
      code: 'kexec-locked-down',
      kind: 'failed',
      prepare: (world) =>
        world.program('kexec', 'echo "kexec_file_load failed: Required key not available" >&2; exit 255'),
    },
    {
      title: 'kexec is forbidden for another reason',
      code: 'kexec-failed',
      kind: 'failed',
      prepare: (world) =>
        world.program('kexec', 'echo "kexec_file_load failed: Operation not permitted" >&2; exit 255'),
    },
    {
      title: 'no link',
      code: 'network-unavailable',
      kind: 'failed',
      prepare: (world) => world.write('sys/class/net/eth0/carrier', '0\n'),
    },
    {
      title: 'no DHCP server',
      code: 'network-unavailable',
      kind: 'failed',
      prepare: (world) => world.program('udhcpc', 'exit 1'),
    },
    {
      title: 'a configuration that is none',
      code: 'agent-config-invalid',
      kind: 'failed',
      prepare: (world) => {
        world.config = { ...world.config, pins: [] }
      },
    },
  ])

  test('the kernel is never even loaded when something before it was refused', async () => {
    const { loaded } = await refusedBy(blobs(initrdBytes, () => ({ body: Buffer.alloc(initrdBytes) })))
    expect(loaded).toBe(false)
  })

  test('a failure reaches the server with code, sentence and the end of the console', async () => {
    const { events, consoles } = await refusedBy(plan({ machine: 'm-bbbbbbbbbbbbbbbb' }))
    expect(events.at(-1)).toMatchObject({ step: 'metadata', status: 'failed', code: 'plan-machine' })
    expect(consoles.at(-1)).toContain('Linux version 6.12')
    expect(consoles.at(-1)).toContain('muster: refused: plan-machine: ')
    expect(consoles.at(-1)!.length).toBeLessThanOrEqual(65_536)
  })
})
