/**
 * The command line that theupdateframework/tuf-conformance judges clients by (its CLIENT-CLI.md), around our updater.
 * Pure but for its host, so that the same lines run on Node (tuf-conformance-client.ts) and on QuickJS
 * (tuf-conformance-agent.js).
 *
 *     [--now SECONDS] before all of them: the time since 1970 that the suite wants it to be
 *     --metadata-dir D init ROOT
 *     --metadata-dir D --metadata-url U refresh
 *     --metadata-dir D --metadata-url U --target-name T … --target-dir X --target-base-url B download
 */
import type { Crypto, HashAlgorithm } from '../src/crypto/crypto.ts'
import { toHex } from '../src/crypto/encoding.ts'
import { errorCodeOf } from '../src/errors.ts'
import type { TrustedRepository } from '../src/tuf/trusted-repository.ts'
import { refresh } from '../src/tuf/updater.ts'

export type ConformanceHost = {
  crypto: Crypto
  /** The body, undefined for 403 and 404; anything else throws. More than `maxBytes` throws too. */
  fetch(url: string, maxBytes: number): Promise<Uint8Array | undefined>
  /** Undefined for a file that is not there. */
  read(path: string): Promise<Uint8Array | undefined>
  write(path: string, bytes: Uint8Array): Promise<void>
  print(line: string): void
}

type Arguments = { options: Map<string, string>; targets: string[]; command: string; operand: string }

/** The exit status: 0, or 1 with a line that says why. */
export async function runConformanceCommand(argv: readonly string[], host: ConformanceHost): Promise<number> {
  try {
    await run(parseArguments(argv), host)
    return 0
  } catch (error) {
    host.print(`${errorCodeOf(error)}: ${error instanceof Error ? error.message : error}`)
    return 1
  }
}

async function run({ options, targets, command, operand }: Arguments, host: ConformanceHost): Promise<void> {
  const metadata = required(options, '--metadata-dir')
  if (command === 'init') {
    const root = await host.read(operand)
    if (root === undefined) throw new Error(`there is no ${operand}`)
    return host.write(`${metadata}/root.json`, root)
  }
  const now = new Date(Number(options.get('--now') ?? Date.now() / 1000) * 1000)
  const repository = await update(metadata, folderUrl(required(options, '--metadata-url')), now, host)
  if (command === 'refresh') return
  if (command !== 'download') throw new Error(`unknown command ${command}`)
  const folder = required(options, '--target-dir')
  for (const path of targets)
    await download(repository, path, folder, required(options, '--target-base-url'), host)
}

async function update(
  metadata: string,
  url: string,
  now: Date,
  host: ConformanceHost,
): Promise<TrustedRepository> {
  const trustedRoot = await host.read(`${metadata}/root.json`)
  if (trustedRoot === undefined) throw new Error('run init first')
  // The suite counts the files in the folder, and has no place for the history of roots: root.json is its newest.
  const isHistory = (name: string) => /^\d+\.root\.json$/.test(name)
  return refresh({
    repository: 'conformance',
    trustedRoot,
    now,
    crypto: host.crypto,
    fetch: (name, maxBytes) => host.fetch(`${url}${name}`, maxBytes),
    files: {
      read: async (name) => (isHistory(name) ? undefined : host.read(`${metadata}/${name}`)),
      write: async (name, bytes) => (isHistory(name) ? undefined : host.write(`${metadata}/${name}`, bytes)),
    },
  })
}

async function download(
  repository: TrustedRepository,
  path: string,
  folder: string,
  url: string,
  host: ConformanceHost,
): Promise<void> {
  const file = await repository.lookUp(path)
  if (file === undefined) throw new Error(`no role lists ${path}`)
  const holds = (bytes: Uint8Array) =>
    bytes.length === file.length &&
    Object.entries(file.hashes).every(
      ([algorithm, digest]) => toHex(host.crypto.hash(algorithm as HashAlgorithm, bytes)) === digest,
    )

  const kept = `${folder}/${encodeURIComponent(path)}`
  const cached = await host.read(kept)
  if (cached !== undefined && holds(cached)) return
  // Specification v1.0.34 §6.2: with consistent snapshots, `<hash>.<name>` in the same folder.
  const slash = path.lastIndexOf('/') + 1
  const [prefix] = Object.values(file.hashes)
  const name = repository.consistentSnapshot ? `${path.slice(0, slash)}${prefix}.${path.slice(slash)}` : path
  const bytes = await host.fetch(`${url}${name}`, file.length)
  if (bytes === undefined || !holds(bytes)) throw new Error(`${path} is not what metadata says`)
  await host.write(kept, bytes)
}

function parseArguments(argv: readonly string[]): Arguments {
  const options = new Map<string, string>()
  const targets: string[] = []
  let at = 0
  for (; argv[at]?.startsWith('--'); at += 2) {
    const value = argv[at + 1] ?? ''
    if (argv[at] === '--target-name') targets.push(value)
    else options.set(argv[at]!, value)
  }
  return { options, targets, command: argv[at] ?? '', operand: argv[at + 1] ?? '' }
}

function required(options: Map<string, string>, name: string): string {
  const value = options.get(name)
  if (value === undefined) throw new Error(`${name} is missing`)
  return value
}

/** The suite's addresses end in a slash, and a client's need not. */
function folderUrl(url: string): string {
  return url.endsWith('/') ? url : `${url}/`
}
