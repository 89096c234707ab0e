/** `muster tuf init` and `muster tuf status`: the repository that says which releases are valid. */
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Status } from '../http/admin-status.ts'
import { type ExpiryProfile, expiryProfiles, periodsOf } from '../signing/expiry.ts'
import { oneOf } from './arguments.ts'
import type { Context } from './context.ts'
import { print } from './output.ts'
import { repositoriesText } from './status.ts'

const profiles = Object.keys(expiryProfiles) as ExpiryProfile[]

export function addTuf(program: Command, context: Context): void {
  const tuf = program.command('tuf').description('the TUF repository: init, status')
  tuf
    .command('init')
    .description('make a new repository in the data folder: five keys and their first metadata')
    .option('--repository <name>', 'its name (default: releases.repository)')
    .option(
      '--expiry <profile>',
      `how long metadata lives: ${profiles.join(', ')} (default: releases.expiry)`,
      oneOf(profiles),
    )
    .action(async (options: { repository?: string; expiry?: ExpiryProfile }) => {
      const { config } = context.loaded()
      const repository = options.repository ?? config.releases.repository
      const keysDirectory = join(resolve(config.data), 'keys', repository)
      const metadataDirectory = join(resolve(config.data), 'tuf', repository, 'metadata')
      const periods = periodsOf(options.expiry ?? config.releases.expiry)
      await context.world.makeRepository({ keysDirectory, metadataDirectory, periods })
      const root = join(metadataDirectory, '1.root.json')
      print(context.output(), { repository, keysDirectory, root }, () =>
        [
          `made the repository ${repository}.`,
          `  ${root}  is what agents and followers are to trust`,
          `  ${keysDirectory}  holds its keys: back them up now, and move root.pem and targets.pem offline when you can.`,
          'Losing root.pem means flashing every agent again.',
        ].join('\n'),
      )
    })
  tuf
    .command('status')
    .description('versions, expiries, and which keys the server holds')
    .action(async () => {
      const { repositories } = await context.api().call<Status>({ method: 'GET', path: '/status' })
      print(context.output(), repositories, () => repositoriesText(repositories, context.world.now()))
    })
}
