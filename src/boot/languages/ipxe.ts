/** iPXE scripts: the first one, the one of a machine, and a menu for a person at the console. */
import type { FirmwareMenu } from '../../machines/profiles.ts'
import type { Given } from '../firmware.ts'
import { fillTemplate, plainPath, type ScriptContext } from './template.ts'

/** What was chosen in the menu: iPXE comes back with it. */
export type Choice = 'boot' | 'memtest'

/**
 * The first script. `base`: URL that the next is asked below, with a slash at its end; empty: relative to this one.
 * @param elsewhere firmware planes of the peers
 */
export function ipxeFirstScript(base: string, elsewhere: readonly string[] = []): string {
  return fillTemplate('ipxe/autoexec.ipxe', encodeIpxe, {}, { base, elsewhere: orElsewhere(elsewhere) })
}

/** More to try on the line of a `chain` that failed: the first script of each peer. */
function orElsewhere(urls: readonly string[] = []): string {
  return urls.map((url) => `chain --replace ${url}/boot/autoexec.ipxe || `).join('')
}

/** The script of one machine. @param choice what a person chose; undefined: nobody was asked yet. */
export function ipxeScript(given: Given, context: ScriptContext, choice?: Choice): string {
  if (given.give === 'skip') return fillTemplate('ipxe/skip.ipxe', encodeIpxe, { reason: given.reason })
  if (given.menu !== undefined && choice === undefined) return menuScript(given.reason, given.menu, context)
  if (choice === 'memtest' && given.menu?.memtest !== undefined) {
    const kernel = plainPath(given.menu.memtest)
    return unverifiedScript({ reason: `the menu gives ${kernel}`, kernel, initrd: [], arguments: [] })
  }
  if (given.give === 'unverified') return unverifiedScript(given)
  return fillTemplate(
    'ipxe/agent.ipxe',
    encodeIpxe,
    {
      reason: given.reason,
      arch: given.arch,
      arguments: context.agentArguments(given.arch).join(' '),
      server: context.agentServers,
    },
    { elsewhere: orElsewhere(context.elsewhere) },
  )
}

function unverifiedScript(given: {
  reason: string
  kernel: string
  initrd: readonly string[]
  arguments: readonly string[]
}): string {
  const { reason, kernel, initrd } = given
  const path = (name: string) => `../files/${plainPath(name)}`
  return fillTemplate(
    'ipxe/unverified.ipxe',
    encodeIpxe,
    { reason, arguments: given.arguments.join(' ') },
    {
      kernel: path(kernel),
      initrdArgument: initrd.map((_, index) => `initrd=initrd${index}`).join(' '),
      initrdLine: initrd
        .map((name, index) => `initrd --name initrd${index} ${path(name)} || goto failed`)
        .join('\n'),
    },
  )
}

function menuScript(reason: string, menu: FirmwareMenu, { elsewhere }: ScriptContext): string {
  const memtest =
    menu.memtest === undefined ? '' : 'item --key m memtest Memory test (UNVERIFIED, from the files folder)'
  return fillTemplate(
    'ipxe/menu.ipxe',
    encodeIpxe,
    { reason },
    { milliseconds: String(menu.seconds * 1000), memtest, elsewhere: orElsewhere(elsewhere) },
  )
}

/**
 * Text that iPXE cannot read as syntax: its parser knows white space, line ends, `$` (settings), `\` and quotes, `#`,
 * and the words `&&` and `||` (ipxe.org/scripting). What is left over is replaced by `_`, never escaped, because iPXE
 * versions in the field disagree about escaping. Spaces are kept: they only separate words.
 */
export function encodeIpxe(text: string): string {
  return text
    .replace(/[^A-Za-z0-9 ._:,;/=@%+?()[\]'*-]/g, '_')
    .replaceAll("'", '_')
    .slice(0, 2048)
}
