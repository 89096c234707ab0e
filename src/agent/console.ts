/** What a person at the machine reads, on every terminal: one plain line a step, and the reason of a failure. */
import type { ErrorCode } from '../errors.ts'
import { isRefusal } from '../protocol/refusals.ts'
import { encodeUtf8 } from '../wire/utf8.ts'
import type { Host } from './host.ts'
import { asciiText, printable } from './text.ts'

export type Console = {
  line(text: string): Promise<void>
  /** `muster: refused: <code>: <sentence>`, or `failed`, on a line of its own; runbooks and fault tests look for it. */
  failure(code: ErrorCode, sentence: string): Promise<void>
  /** The last lines, at most `maxBytes` of ASCII. */
  tail(maxBytes: number): string
}

/**
 * Lines go to standard output (/dev/console), to every other console of the kernel, to tty0, and to `logPath`, which is started
 * anew when it holds twice `maxBytes`. /dev/console alone would not do: it is the last `console=` of the command line that the machine
 * really has, and where that one is missing the screen, while a person sits at the serial port (run: arm64, whose ports have other names).
 */
export async function createConsole(options: {
  host: Host
  logPath: string
  maxBytes: number
  sysFolder: string
  devFolder: string
}): Promise<Console> {
  const { host, logPath, maxBytes, sysFolder, devFolder } = options
  const own = (await activeConsoles(host, sysFolder)).at(-1)
  const lines: string[] = []
  let kept = 0
  let logged = Number.POSITIVE_INFINITY
  const keep = async (text: string) => {
    lines.push(text)
    kept += text.length + 1
    while (kept > maxBytes) kept -= lines.shift()!.length + 1
    if (logged + text.length > 2 * maxBytes) {
      const bytes = encodeUtf8(`${lines.join('\n')}\n`)
      await host.writeFile(logPath, bytes, 0o600)
      logged = bytes.length
      return
    }
    const writer = await host.openWriter(logPath, logged)
    await writer.write(encodeUtf8(`${text}\n`))
    await writer.close()
    logged += text.length + 1
  }
  const show = async (whole: string) => {
    host.print(whole)
    // Asked each time: a port whose driver is a module becomes a console late.
    for (const name of new Set([...(await activeConsoles(host, sysFolder)), 'tty0']))
      if (name !== own) host.printTo(`${devFolder}/${name}`, whole)
    await keep(whole)
  }
  return {
    line: (text) => show(`muster: ${printable(text, 1000)}`),
    async failure(code, sentence) {
      const kind = isRefusal(code) ? 'refused' : 'failed'
      await show(`muster: ${kind}: ${code}: ${printable(sentence, 1000)}`)
    },
    tail(bytes) {
      return lines.join('\n').slice(-bytes)
    },
  }
}

/**
 * /sys/class/tty/console/active lists the consoles that there are, /dev/console's own one last: those that `console=` names, or else
 * what the firmware's device tree (stdout-path) or ACPI table (SPCR) does. Any other serial port is left alone: something else may
 * hang on it.
 */
async function activeConsoles(host: Host, sysFolder: string): Promise<string[]> {
  const active = asciiText(await host.readFile(`${sysFolder}/class/tty/console/active`, 256))
  return active.split(/\s+/).filter((name) => /^[A-Za-z0-9]+$/.test(name))
}
