/** `muster agent boot-image`: a built agent as the boot.img and boot.sig that a Raspberry Pi's EEPROM loads. */
import { readdirSync, statSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { readBootKey, signBootImage } from '../boot/formats/boot-signature.ts'
import { makePiImage } from '../boot/raspberry-pi-image.ts'
import { agentArgumentsOf } from '../config/agent-arguments.ts'
import { anAgentPlane } from './arguments.ts'
import type { Context } from './context.ts'
import { prepareFolder } from './folders.ts'
import { readGiven, unreadable } from './given-file.ts'
import { bytes, print } from './output.ts'

type Options = { agent: string; firmware: string; out: string; server?: string; sign?: string }

export function addBootImage(agent: Command, context: Context): void {
  agent
    .command('boot-image')
    .description(
      'put an arm64 agent and Raspberry Pi firmware into one boot.img, for HTTP boot, sticks and cards',
    )
    .requiredOption('--agent <folder>', "what 'muster agent build --arch arm64 --hardware server' wrote")
    .requiredOption('--firmware <folder>', 'start4.elf, fixup4.dat, device trees …; docs/boot-methods.md')
    .requiredOption('--out <folder>', 'where boot.img and boot.sig go: raspberry-pi/ of the files folder')
    .option('--server <url>', 'agent plane, where the agent was built without one', anAgentPlane)
    .option('--sign <file>', "RSA key of 2048 bits (PEM) whose public half is in the boards' EEPROMs")
    .action((options: Options) => makeBootImage(context, options))
}

async function makeBootImage(context: Context, options: Options): Promise<void> {
  const { sign, server } = options
  const key = sign === undefined ? undefined : readBootKey(read(sign, '--sign').toString('latin1'), sign)
  const { image, boards, lacking } = makePiImage({
    kernel: read(join(options.agent, 'kernel'), '--agent'),
    initramfs: read(join(options.agent, 'initramfs'), '--agent'),
    firmware: readFolder(options.firmware),
    arguments: [
      ...agentArgumentsOf(context.loaded().config, 'arm64'),
      ...(server === undefined ? [] : [`muster.server=${server}`]),
    ],
  })
  const out = resolve(options.out)
  await prepareFolder(out, '--out')
  const files = {
    'boot.img': image,
    ...(key === undefined ? {} : { 'boot.sig': signBootImage(image, key, new Date(context.world.now())) }),
  }
  // One that was left from before would be of another image.
  await rm(join(out, 'boot.sig'), { force: true })
  for (const [name, content] of Object.entries(files)) await writeFile(join(out, name), content)
  const made = {
    image: join(out, 'boot.img'),
    bytes: image.length,
    boards,
    lacking,
    signed: key !== undefined,
  }
  print(context.output(), made, () =>
    [
      `${made.image}  ${bytes(made.bytes)}  boots ${boards.join(', ')}`,
      ...lacking.map((line) => `  ${line}: not booted by it`),
      key === undefined
        ? 'Not signed: HTTP boot and secure boot take it only with --sign.'
        : `${join(out, 'boot.sig')}  signed; 'muster lint raspberry-pi --key PUBLIC.pem' checks both`,
    ].join('\n'),
  )
}

/** @throws MusterError file-not-found */
function read(path: string, by: string): Buffer {
  return readGiven(path, { by, code: 'file-not-found' })
}

/** Every file below a folder, by its path there. @throws MusterError file-not-found */
function readFolder(folder: string): Record<string, Uint8Array> {
  let names: string[]
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  } catch (cause) {
    throw unreadable(
      folder,
      {
        by: '--firmware',
        what: "The firmware's folder",
        code: 'file-not-found',
        wayOut: 'Name another one.',
      },
      cause,
    )
  }
  // The server's own folder has a stamp. A link that leads nowhere is a file that cannot be read, and is told as one.
  const files = names.filter(
    (name) =>
      name !== 'made-from' && statSync(join(folder, name), { throwIfNoEntry: false })?.isDirectory() !== true,
  )
  return Object.fromEntries(files.map((name) => [name, read(join(folder, name), '--firmware')]))
}
