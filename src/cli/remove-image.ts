/** `muster image remove`: a release that no machine is to boot any more. */
import type { Command } from 'commander'
import { removeThere } from '../releases/remove-there.ts'
import { type ReleaseName, releaseName } from './arguments.ts'
import type { Context } from './context.ts'
import { print } from './output.ts'
import { addPublisherOptions, openPublisher, type PublisherOptions } from './publisher.ts'

export function addRemoveImage(image: Command, context: Context): void {
  const remove = image
    .command('remove')
    .argument('<image/version>', 'as muster images lists it', releaseName)
    .description('withdraw a release, of all its architectures: sign the next metadata without it')
    .option('--instead <version>', 'channels that name it name this version from now on')
  addPublisherOptions(remove).action(
    async (release: ReleaseName, options: PublisherOptions & { instead?: string }) => {
      const instead = insteadOf(remove, release, options.instead)
      const { remember, ...publisher } = await openPublisher(context, options)
      const done = await removeThere({ ...publisher, ...release, instead })
      remember(done.targetsVersion)
      print(context.output(), done, () =>
        [
          ...done.removed.map((path) => `${path}  removed\n`),
          ...done.channels.map((channel) => `channel ${channel} names ${instead}.\n`),
          `no machine boots it from targets version ${done.targetsVersion} on; its bytes stay on the server's disk.\n`,
        ].join(''),
      )
      for (const notice of done.notices) context.output().note(`note: ${notice}\n`)
    },
  )
}

/** A version, also where it is written with its image as everywhere else. */
function insteadOf(command: Command, { image }: ReleaseName, given: string | undefined): string | undefined {
  const version = given?.startsWith(`${image}/`) ? given.slice(image.length + 1) : given
  if (version?.includes('/'))
    command.error(
      `error: --instead names a version of ${image}, as in 1.4.3, and not '${version.slice(0, 80)}'`,
    )
  return version
}
