/**
 * A machine, its server and its mirror: a folder that looks like /sys, /proc and /etc, programs that note what they were
 * asked, an HTTPS server on loopback, and a real TUF repository. Verbs change what the agent meets.
 */
import { execFileSync } from 'node:child_process'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Folders } from '../../src/agent/agent.ts'
import { defaultLimits, type Limits } from '../../src/agent/limits.ts'
import { runAgent } from '../../src/agent/run.ts'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { layerTypes, osArtifactType } from '../../src/oci/artifact.ts'
import { mediaTypes } from '../../src/oci/manifest.ts'
import type { AgentConfig, AgentPolicy } from '../../src/protocol/agent-config.ts'
import type { EventsRequest } from '../../src/protocol/events.ts'
import type { HelloReply, HelloRequest } from '../../src/protocol/hello.ts'
import { type Plan, planPayloadType } from '../../src/protocol/plan.ts'
import { signedText } from '../../src/protocol/session.ts'
import { signEnvelope } from '../../src/signing/dsse.ts'
import { createSigner, generatePrivateKey, type Signer } from '../../src/signing/keys.ts'
import {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  planDelegation,
  signMetadata,
  type TargetEntry,
} from '../../src/signing/repository.ts'
import { refresh } from '../../src/tuf/updater.ts'
import { createNodeHost, type NodeHost } from './node-host.ts'

export const machine = 'm-aaaaaaaaaaaaaaaa'
export const mac = '52:54:00:12:34:56'
const daySeconds = 86_400

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const timestamp = (timeMs: number) => `${new Date(timeMs).toISOString().slice(0, 19)}Z`

type Layers = {
  kernel?: Uint8Array
  initrds?: Uint8Array[]
  cmdline?: string
  dtb?: Uint8Array
  rootfs?: Uint8Array
}
type Answer = { status?: number; body?: Uint8Array; headers?: Record<string, string> } | 'taken'
export type Meddle = (
  request: { path: string; headers: IncomingMessage['headers']; count: number },
  response: ServerResponse,
) => Answer | undefined

/** What the agent is, seen by a test that runs it: under Node here, under QuickJS in bundle.test.ts. */
export class World {
  readonly folder = mkdtempSync(join(tmpdir(), 'muster-agent-'))
  readonly folders: Folders
  readonly files = new Map<string, Uint8Array>()
  readonly requests: string[] = []
  readonly hellos: HelloRequest[] = []
  readonly events: EventsRequest['events'] = []
  readonly consoles: string[] = []
  readonly badSignatures: string[] = []
  readonly signers: Record<'root' | 'targets' | 'snapshot' | 'timestamp' | 'plan', Signer>
  nowMs = Date.parse('2026-06-01T12:00:00Z')
  config: AgentConfig
  commandLine = `quiet BOOTIF=01-${mac.replaceAll(':', '-')}`
  /** The reply to hello, before it is sent. */
  changeReply: (reply: HelloReply) => unknown = (reply) => reply
  /** The plan, before it is signed, and the reply around it. */
  changePlan: (plan: Plan) => unknown = (plan) => plan
  changePlanReply: (reply: unknown, count: number) => unknown = (reply) => reply
  meddle: Meddle = () => undefined
  #helloBytes: Uint8Array = new Uint8Array()
  #boots = 0
  #server: Server | undefined
  readonly #sockets = new Set<Socket>()
  readonly #counts = new Map<string, number>()
  readonly #targets: Record<string, TargetEntry> = {}
  #version = 0
  #current: { path: string; sha256: string } | undefined

  constructor() {
    const at = (name: string) => join(this.folder, name)
    const etc = at('etc')
    this.folders = {
      work: at('run'),
      etc,
      proc: at('proc'),
      sys: at('sys'),
      dev: at('dev'),
      resolvConf: at('resolv.conf'),
    }
    const signer = () => createSigner(generatePrivateKey())
    this.signers = {
      root: signer(),
      targets: signer(),
      snapshot: signer(),
      timestamp: signer(),
      plan: signer(),
    }
    this.config = {
      apiVersion: 'muster/v1',
      origin: 'network',
      servers: [],
      pins: [],
      repository: 'main',
      mirrors: [],
      timeFloor: '2026-01-01T00:00:00Z',
      policy: {
        targets: ['hello/*/*'],
        hardwareIds: [],
        arguments: ['console=*', 'quiet', 'muster.*'],
        minReleaseCounters: {},
        staleSeconds: 0,
        onFailure: { attempts: 0, fallback: 'wait' },
        maxImageBytes: 0,
      },
    }
    this.#furnish()
  }

  get url(): string {
    const { port } = this.#server!.address() as AddressInfo
    return `https://127.0.0.1:${port}`
  }

  policy(change: Partial<AgentPolicy>): void {
    this.config = { ...this.config, policy: { ...this.config.policy, ...change } }
  }

  /** A file below the machine's folder: `sys/class/dmi/id/product_uuid`. */
  write(name: string, content: string | Uint8Array): void {
    const path = join(this.folder, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, content)
  }

  read(name: string): Buffer {
    return readFileSync(join(this.folder, name))
  }

  has(name: string): boolean {
    return existsSync(join(this.folder, name))
  }

  /** Takes the place of a program of the machine; a shell script. */
  program(name: string, script: string): void {
    this.write(`bin/${name}`, `#!/bin/sh\n${script}\n`)
    chmodSync(join(this.folder, 'bin', name), 0o755)
  }

  blob(bytes: Uint8Array): { digest: string; size: number } {
    this.files.set(`/tuf/main/blobs/sha256/${sha256(bytes)}`, bytes)
    return { digest: `sha256:${sha256(bytes)}`, size: bytes.length }
  }

  /** Publishes a release and makes it what plans choose. `custom` overrides what is signed with it. */
  release(
    options: { version?: string; counter?: number; layers?: Layers; custom?: object; manifest?: object } = {},
  ) {
    const { version = '1.0.0', counter = 1, layers = {} } = options
    const { kernel = Buffer.alloc(300_000, 'kernel '), initrds = [Buffer.alloc(500_000, 'initrd ')] } = layers
    const layer = (mediaType: string, bytes: Uint8Array) => ({ mediaType, ...this.blob(bytes) })
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType: osArtifactType,
      config: { mediaType: mediaTypes.empty, ...this.blob(Buffer.from('{}')) },
      layers: [
        layer(layerTypes.kernel, kernel),
        ...initrds.map((initrd) => layer(layerTypes.initrd, initrd)),
        layer(layerTypes.cmdline, Buffer.from(layers.cmdline ?? 'root=/dev/ram0 ro\n')),
        ...(layers.dtb === undefined ? [] : [layer(layerTypes.dtb, layers.dtb)]),
        ...(layers.rootfs === undefined ? [] : [layer(layerTypes.rootfs, layers.rootfs)]),
      ],
      ...options.manifest,
    }
    const bytes = Buffer.from(JSON.stringify(manifest))
    const { digest } = this.blob(bytes)
    const path = `hello/${version}/amd64`
    const custom = {
      kind: 'artifact',
      oci: { ref: `hello@${digest}`, mediaType: mediaTypes.manifest },
      version,
      arch: 'amd64',
      releaseCounter: counter,
      hardwareIds: [],
      minAgent: '0.1.0',
      ...options.custom,
    }
    this.#current = { path, sha256: sha256(bytes) }
    this.target(path, bytes, custom)
    return { ...manifest, digest }
  }

  /** The signed document of the channel `stable`. */
  channel(minReleaseCounter: number, change: object = {}): void {
    const document = {
      image: 'hello',
      channel: 'stable',
      version: '9.0.0',
      releaseCounter: Math.max(9, minReleaseCounter),
      minReleaseCounter,
      manifests: {},
      ...change,
    }
    this.target('hello/channel/stable', Buffer.from(JSON.stringify(document)), { kind: 'channel' })
  }

  target(path: string, bytes: Uint8Array, custom: object): void {
    this.blob(bytes)
    this.#targets[path] = { length: bytes.length, hashes: { sha256: sha256(bytes) }, custom: custom as never }
    this.sign()
  }

  /** Signs all metadata anew; `lifeDays` from the world's now. */
  sign(lifeDays: { timestamp?: number } = {}): void {
    const { root, targets, snapshot, timestamp: time } = this.signers
    this.#version += 1
    const version = this.#version
    const put = (name: string, bytes: Uint8Array) => this.files.set(`/tuf/main/metadata/${name}`, bytes)
    const expires = (days: number) => timestamp(this.nowMs + days * daySeconds * 1000)
    const role = ({ publicKey, keyid }: Signer) => ({ keys: [publicKey], keyids: [keyid], threshold: 1 })
    const roles = {
      root: role(root),
      targets: role(targets),
      snapshot: role(snapshot),
      timestamp: role(time),
    }
    const rootBytes = signMetadata(buildRoot({ version: 1, expires: expires(365), roles }), [root])
    const targetsBytes = signMetadata(
      buildTargets({
        version,
        expires: expires(180),
        targets: this.#targets,
        delegations: planDelegation(this.signers.plan),
      }),
      [targets],
    )
    const snapshotBytes = signMetadata(
      buildSnapshot({ version, expires: expires(7), targetsVersion: version, targets: targetsBytes }),
      [snapshot],
    )
    const timestampBytes = signMetadata(
      buildTimestamp({
        version,
        expires: expires(lifeDays.timestamp ?? 1),
        snapshotVersion: version,
        snapshot: snapshotBytes,
      }),
      [time],
    )
    put('1.root.json', rootBytes)
    put(`${version}.targets.json`, targetsBytes)
    put(`${version}.snapshot.json`, snapshotBytes)
    put('timestamp.json', timestampBytes)
    if (!this.has('etc/root.json')) this.write('etc/root.json', rootBytes)
  }

  get timestampVersion(): number {
    return this.#version
  }

  /** What a taken-over server can do with the online keys alone: an earlier targets.json under new signatures. */
  showOldTargets(targetsVersion: number): void {
    this.#version += 1
    const version = this.#version
    const targets = this.files.get(`/tuf/main/metadata/${targetsVersion}.targets.json`)!
    const expires = timestamp(this.nowMs + daySeconds * 1000)
    const snapshot = signMetadata(buildSnapshot({ version, expires, targetsVersion, targets }), [
      this.signers.snapshot,
    ])
    this.files.set(`/tuf/main/metadata/${version}.snapshot.json`, snapshot)
    const time = buildTimestamp({ version, expires, snapshotVersion: version, snapshot })
    this.files.set('/tuf/main/metadata/timestamp.json', signMetadata(time, [this.signers.timestamp]))
  }

  async listen(): Promise<void> {
    const [key, certificate] = ['key.pem', 'certificate.pem'].map((name) => join(this.folder, name))
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    const files = ['-keyout', key!, '-out', certificate!]
    execFileSync('openssl', ['req', '-x509', ...curve, '-subj', '/CN=muster', ...files], { stdio: 'ignore' })
    const tls = { key: readFileSync(key!), cert: readFileSync(certificate!) }
    const spki = createPublicKey(tls.cert).export({ format: 'der', type: 'spki' })
    const pin = `sha256//${createHash('sha256').update(spki).digest('base64')}`
    this.#server = createServer(tls, (request, response) => this.#answer(request, response))
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>((resolve) => this.#server!.listen(0, '127.0.0.1', resolve))
    this.config = { ...this.config, servers: [this.url], pins: [pin] }
  }

  /** Runs the agent under Node; the rounds that the machine would have made. */
  async boot(options: { rounds?: number; limits?: Partial<Limits>; sleepMostMs?: number } = {}) {
    this.save()
    const host: NodeHost = createNodeHost({
      binFolder: join(this.folder, 'bin'),
      ...(options.sleepMostMs === undefined ? {} : { sleepMostMs: options.sleepMostMs }),
    })
    const crypto = createNodeCrypto()
    const ending = await runAgent({
      host,
      crypto,
      refresh: (asked) => refresh({ ...asked, crypto }),
      folders: this.folders,
      limits: { ...defaultLimits, ...testLimits, ...options.limits },
      maxRounds: options.rounds ?? 1,
    })
    return { ending, host, lines: host.lines, code: failureOf(host.lines), started: this.has('started') }
  }

  /** Writes down what the agent reads at its start. */
  save(): void {
    this.write('etc/config.json', JSON.stringify(this.config))
    this.write('proc/cmdline', `${this.commandLine}\n`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) =>
      this.#server === undefined ? resolve(undefined) : this.#server.close(resolve),
    )
    rmSync(this.folder, { recursive: true, force: true })
  }

  #furnish(): void {
    this.write('proc/meminfo', 'MemTotal:        1048576 kB\nMemFree: 9 kB\nMemAvailable:     900000 kB\n')
    this.write('proc/cpuinfo', 'processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n')
    this.write('proc/uptime', '12.50 20.00\n')
    this.write('sys/class/net/eth0/address', `${mac}\n`)
    this.write('sys/class/net/eth0/type', '1\n')
    this.write('sys/class/net/eth0/carrier', '1\n')
    this.write('sys/class/net/eth0/device/vendor', '0x1af4\n')
    this.write('sys/class/net/lo/address', '00:00:00:00:00:00\n')
    this.write('sys/class/net/lo/type', '772\n')
    this.write('sys/class/tty/console/active', 'tty0 ttyS0\n')
    this.write('sys/class/dmi/id/sys_vendor', 'QEMU\n')
    this.write('sys/class/dmi/id/product_name', 'Standard PC\n')
    this.write('sys/class/dmi/id/product_uuid', 'C0FFEE00-1111-2222-3333-444444444444\n')
    this.write('sys/class/dmi/id/bios_vendor', 'SeaBIOS\n')
    const note = (name: string) => `printf '%s\\n' "$*" >> '${this.folder}/${name}.log'`
    this.program('uname', 'echo x86_64')
    this.program('dmesg', "echo '[    0.000000] Linux version 6.12'")
    this.program('ip', note('ip'))
    this.program('modprobe', note('modprobe'))
    this.program(
      'udhcpc',
      `${note('udhcpc')}\nprintf '%s\\n' ip=10.0.2.15 mask=24 router=10.0.2.2 dns=10.0.2.3 lease=86400 > '${this.folder}/run/lease'`,
    )
    this.program(
      'kexec',
      `${note('kexec')}
case "$*" in
-e) touch '${this.folder}/started' ;;
*) cp '${this.folder}/run/content/kernel' '${this.folder}/loaded-kernel'
   cp '${this.folder}/run/content/initrd' '${this.folder}/loaded-initrd' ;;
esac`,
    )
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const path = request.url ?? ''
      const count = (this.#counts.get(path) ?? 0) + 1
      this.#counts.set(path, count)
      this.requests.push(path)
      const meddled = this.meddle({ path, headers: request.headers, count }, response)
      if (meddled === 'taken') return
      const answer = meddled ?? this.#honest(request, path, Buffer.concat(chunks), count)
      const { status = 200, body = new Uint8Array(), headers = {} } = answer
      response.writeHead(status, { 'content-length': body.length, ...headers })
      response.end(body)
    })
  }

  #honest(request: IncomingMessage, path: string, body: Buffer, count: number): Exclude<Answer, 'taken'> {
    if (path === '/agent/v1/hello') return json(this.#hello(body))
    if (path.startsWith('/agent/v1/boots/')) {
      this.#checkSignature(request, path, body)
      if (path.endsWith('/plan')) return json(this.changePlanReply(this.#plan(), count))
      const { events, console } = JSON.parse(body.toString()) as EventsRequest
      this.events.push(...events)
      if (console !== undefined) this.consoles.push(console)
      return { status: 204 }
    }
    const bytes = this.files.get(path)
    if (bytes === undefined) return { status: 404 }
    const offset = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    if (offset === 0) return { body: bytes }
    const range = `bytes ${offset}-${bytes.length - 1}/${bytes.length}`
    return { status: 206, body: bytes.subarray(offset), headers: { 'content-range': range } }
  }

  #hello(body: Buffer): unknown {
    const hello = JSON.parse(body.toString()) as HelloRequest
    this.hellos.push(hello)
    this.#helloBytes = body
    this.#boots += 1
    return this.changeReply({
      protocol: 1,
      machine,
      name: 'machine-1',
      boot: this.#boot,
      repository: 'main',
      mirrors: [{ kind: 'static', url: `${this.url}/tuf/main` }],
    })
  }

  get #boot(): string {
    return `b-${String.fromCharCode(96 + this.#boots).repeat(16)}`
  }

  #plan(): unknown {
    const plan: Plan = {
      version: 1,
      machine,
      boot: this.#boot,
      nonce: this.hellos.at(-1)!.nonce,
      hello: sha256(this.#helloBytes),
      issuedAt: timestamp(this.nowMs),
      expires: timestamp(this.nowMs + 600_000),
      repository: 'main',
      minTimestampVersion: this.#version,
      target: this.#current?.path ?? 'hello/1.0.0/amd64',
      manifestDigest: `sha256:${this.#current?.sha256 ?? '0'.repeat(64)}`,
      minReleaseCounter: 0,
      mode: 'ram',
      arguments: ['console=ttyS0'],
      files: [
        { name: 'report.json', mode: 0o600, bytes: Buffer.from('{"token":"t0ken"}').toString('base64') },
      ],
      because: ['the only profile matches every machine'],
    }
    return { status: 'boot', envelope: this.envelope(this.changePlan(plan)) }
  }

  envelope(plan: unknown, signer: Signer = this.signers.plan) {
    const payload = Buffer.from(JSON.stringify(plan))
    return signEnvelope({ payloadType: planPayloadType, payload, signers: [signer] })
  }

  #checkSignature(request: IncomingMessage, path: string, body: Buffer): void {
    const key = createPublicKey({
      key: Buffer.from(this.hellos.at(-1)!.sessionKey, 'base64'),
      format: 'der',
      type: 'spki',
    })
    const text = signedText({
      method: 'POST',
      path,
      boot: String(request.headers['muster-boot']),
      sequence: Number(request.headers['muster-sequence']),
      bodySha256: sha256(body),
    })
    const signature = Buffer.from(String(request.headers['muster-signature']), 'base64')
    if (!verify(null, Buffer.from(text), key, signature)) this.badSignatures.push(path)
  }
}

/** Times of a machine, shortened: nothing here waits for a person. */
export const testLimits: Partial<Limits> = {
  interfaceTimeoutMs: 300,
  linkTimeoutMs: 200,
  requestAttempts: 2,
  idleAttempts: 3,
  connectSeconds: 2,
  requestSeconds: 6,
  speedSeconds: 2,
  progressMs: 0,
}

/** The code of the last failure on a console. */
export function failureOf(lines: readonly string[]): string | undefined {
  const found = lines.map((line) => /^muster: (?:refused|failed): ([a-z-]+): /.exec(line)?.[1])
  return found.filter((code) => code !== undefined).at(-1)
}

function json(value: unknown): Exclude<Answer, 'taken'> {
  const body = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
  return { body, headers: { 'content-type': 'application/json' } }
}
