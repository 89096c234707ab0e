/** grub.cfg: GRUB's shell, read line by line while it runs. Files are named below `$prefix`, where GRUB itself came from. */
import type { Given } from '../firmware.ts'
import { bootInterfaceArgument, fillTemplate, plainPath, type ScriptContext, spoken } from './template.ts'

/**
 * What a GRUB gets that was not built to look for its own machine: it names itself and asks again. `net_default_mac` is
 * set by the network driver with colons (grub-core/net/net.c), `grub_cpu` when GRUB was built.
 */
export function grubFirstScript(): string {
  return fillTemplate('grub/ask.cfg', encodeGrub, {})
}

export function grubScript(given: Given, context: ScriptContext): string {
  const reason = spoken(given.reason)
  if (given.give === 'skip') return fillTemplate('grub/skip.cfg', encodeGrub, { reason })
  const interfaceArgument = bootInterfaceArgument(context.mac)
  if (given.give === 'unverified') {
    const initrd = given.initrd.map((path) => `$prefix/files/${plainPath(path)}`).join(' ')
    return fillTemplate(
      'grub/unverified.cfg',
      encodeGrub,
      { reason, arguments: given.arguments.join(' ') },
      { kernel: plainPath(given.kernel), initrdLine: initrd === '' ? '' : until(`initrd ${initrd}`) },
    )
  }
  return fillTemplate('grub/agent.cfg', encodeGrub, {
    reason,
    arch: given.arch,
    arguments: [
      ...context.agentArguments(given.arch),
      `muster.server=${context.agentServers}`,
      interfaceArgument,
    ].join(' '),
  })
}

function until(command: string): string {
  return `until ${command}; do\n  echo 'Muster: UNVERIFIED: a file could not be loaded; trying again in 10 seconds'\n  sleep 10\ndone`
}

/**
 * Words that GRUB's shell takes as they are: it reads quotes, `\`, `$`, `#`, `;`, `&`, `|`, `<`, `>`, braces and parentheses
 * as syntax, and `*`, `?` as wildcards (GRUB manual, "Quoting"; grub-core/script/yylex.l). Brackets, which an IPv6 address in a URL
 * needs, are no wildcards to it (grub-core/commands/wildcard.c, make_regex).
 */
export function encodeGrub(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._:,/=@%+[\]-]/g, '_').slice(0, 2048)
}
