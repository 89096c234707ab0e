/** Who signs, and over what: the targets key, the root that is trusted, and the server that is not. For every command that changes releases. */
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { MusterError } from '../errors.ts'
import type { Status } from '../http/admin-status.ts'
import { publishedUpstream } from '../releases/following.ts'
import type { ServerAccess } from '../releases/publish-there.ts'
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
 * @throws MusterError key-not-found, key-invalid, repository-not-found
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
  const signer = await loadSigner(context, keyFile)
  const root = options.root ?? join(data, 'tuf', repository, 'metadata/1.root.json')
  return {
    server: createRemoteServer(context.api(), repository),
    repository,
    trustedRoot: readRoot(root),
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

async function loadSigner(context: Context, path: string): Promise<Signer> {
  const signer = await loadKeyFile(path, context.world.log(context.loaded().config.log))
  if (signer !== undefined) return signer
  throw new MusterError(
    'key-not-found',
    `There is no targets key at ${path}. Name it with --key; on the server's machine, name its folder with --data.`,
    { details: { path } },
  )
}

function readRoot(path: string): Uint8Array {
  return readGiven(path, {
    by: '--root',
    what: "The repository's root.json",
    code: 'repository-not-found',
    wayOut: 'Give it with --root: without it a server that was taken over could have you sign what it likes.',
  })
}
