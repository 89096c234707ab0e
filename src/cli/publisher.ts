/** Who signs, and over what: the targets key, the root that is trusted, and the server that is not. For every command that changes releases. */
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Status } from '../http/admin-status.ts'
import { publishedUpstream } from '../releases/following.ts'
import type { ServerAccess } from '../releases/publish-there.ts'
import { checkTrustedRoot } from '../releases/trusted-root.ts'
import { periodsOf } from '../signing/expiry.ts'
import { keyFileOf, loadKeyFile, type Signer } from '../signing/keys.ts'
import { wholeNumber } from './arguments.ts'
import type { Context } from './context.ts'
import { readGiven } from './given-file.ts'
import { lastTargetsVersion, rememberTargetsVersion } from './publisher-memory.ts'
import { createRemoteServer } from './remote-store.ts'

export type PublisherOptions = { key?: string; root?: string; repository?: string; targetsAtLeast?: number }

export function addPublisherOptions(command: Command): Command {
  return command
    .option('--key <file>', "the targets key (default: the server's own, keys/<repository>/targets.pem)")
    .option('--root <file>', "the repository's root.json, from a road you trust (default: the data folder's)")
    .option('--repository <name>', "the server's TUF repository (default: releases.repository)")
    .option(
      '--targets-at-least <version>',
      'refuse a server that shows older targets (default: what was signed last, kept beside the key)',
      wholeNumber,
    )
}

/**
 * `remember`: to be told the targets version that was signed, once the server took it.
 * @throws MusterError key-not-found, key-invalid, repository-not-found, and metadata-* for a root that is none
 */
export async function openPublisher(
  context: Context,
  options: PublisherOptions,
): Promise<ServerAccess & { remember(targetsVersion: number): void }> {
  const { world } = context
  const { config } = context.loaded()
  const repository = options.repository ?? config.releases.repository
  const data = resolve(config.data)
  await refuseFollower(context, repository)
  const keyFile = options.key ?? keyFileOf(join(data, 'keys', repository), 'targets')
  const signer = await loadSigner(context, keyFile, options.key !== undefined)
  const root = options.root ?? join(data, 'tuf', repository, 'metadata/1.root.json')
  return {
    server: createRemoteServer(context.api(), repository),
    repository,
    trustedRoot: readRoot(root, { repository, nowMs: world.now(), crypto: world.crypto }),
    signer,
    leastTargetsVersion: Math.max(options.targetsAtLeast ?? 0, lastTargetsVersion(keyFile, repository)),
    periods: periodsOf(config.releases.expiry),
    now: world.now,
    crypto: world.crypto,
    remember: (version) => rememberTargetsVersion(keyFile, repository, version, context.output().note),
  }
}

/** Said before a key is looked for: nobody is to bring the targets key to a server that has no use for it. */
async function refuseFollower(context: Context, repository: string): Promise<void> {
  // What cannot be asked now says so when it is needed, and a follower refuses what is published to it all the same.
  const status = await context
    .api()
    .call<Status>({ method: 'GET', path: '/status' })
    .catch(() => undefined)
  const upstream = status?.repositories.find(({ name }) => name === repository)?.upstream
  if (upstream !== undefined) throw publishedUpstream(repository, upstream)
}

async function loadSigner(context: Context, path: string, isGiven: boolean): Promise<Signer> {
  const warn = (_: object, message = '') => context.output().note(`note: ${message}\n`)
  let signer: Signer | undefined
  try {
    signer = await loadKeyFile(path, { warn })
  } catch (cause) {
    // What keeps it from being read is said already.
    const isRead = ((cause as Error).cause as NodeJS.ErrnoException | undefined)?.syscall === undefined
    if (!isGiven || !isRead || errorCodeOf(cause) !== 'key-invalid') throw cause
    throw new MusterError(
      'key-invalid',
      `${path} (--key) is not the targets key: it has to be an Ed25519 private key in PEM that can be read, such as keys/<repository>/targets.pem of a data folder.`,
      { cause, details: { path } },
    )
  }
  if (signer !== undefined) return signer
  throw new MusterError(
    'key-not-found',
    `There is no targets key at ${path}. Name it with --key; on the server's machine, name its folder with --data.`,
    { details: { path } },
  )
}

function readRoot(path: string, options: Parameters<typeof checkTrustedRoot>[1]): Uint8Array {
  const bytes = readGiven(path, {
    by: '--root',
    what: "The repository's root.json",
    code: 'repository-not-found',
    wayOut: 'Give it with --root: without it a server that was taken over could have you sign what it likes.',
  })
  try {
    checkTrustedRoot(bytes, options)
  } catch (cause) {
    if (!(cause instanceof MusterError)) throw cause
    throw new MusterError(
      cause.code,
      `${path} (--root) is no root.json to trust. Give the repository's: on the server's machine it is tuf/${options.repository}/metadata/1.root.json in the data folder. (${cause.message})`,
      { cause, details: { path } },
    )
  }
  return bytes
}
