/**
 * How a person at this machine types Muster's commands. All over the program sentences say 'muster …' in single quotes, also to
 * machines and over the API, where nobody need know how it is called here; where the server prints one, `typed` makes it a command that
 * can be pasted.
 */
import { realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Commands = {
  /** What a command begins with: `./muster`, or with a data folder of its own `./muster --data /srv/muster`. */
  muster: string
  /** What boots a virtual machine from this server. */
  boot: string
  typed(sentence: string): string
}

const root = join(import.meta.dirname, '../..')

/**
 * @param called `muster` where PATH has it, `./muster`, or the launcher's whole path
 * @param data the data folder, absolute
 */
export function commandsOf({ called = './muster', data }: { called?: string; data: string }): Commands {
  const isDefault = data === join(root, 'data')
  const named = `--data ${shellWord(data)}`
  // The default is beside where a command is called, so only from here it is the same one.
  const muster = isDefault && called === './muster' ? called : `${called} ${named}`
  return {
    muster,
    boot: isDefault ? 'npm run boot' : `npm run boot -- ${named}`,
    // A function, because $ in a replacement would mean something.
    typed: (sentence) => sentence.replaceAll("'muster ", () => `'${muster} `),
  }
}

/** @param path PATH. @param folder the one that the process was started in. */
export function calledAs({ path = '', folder }: { path?: string | undefined; folder: string }): string {
  const launcher = join(root, 'muster')
  const here = realPath(launcher)
  const onPath = path
    .split(delimiter)
    .flatMap((one) => (one.startsWith('/') ? (realPath(join(one, 'muster')) ?? []) : []))
  // The first is the one that a shell takes; another program may have the name.
  if (onPath[0] !== undefined && onPath[0] === here) return 'muster'
  return folder === root ? './muster' : shellWord(launcher)
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}

/** For a POSIX shell (XCU §2.2.2). */
function shellWord(text: string): string {
  return /^[A-Za-z0-9_.:@%+,/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
