/** What a person at the machine reads: one plain line a step, and the reason of a failure on every terminal. */
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
 * Lines go to standard output (/dev/console: the last `console=` of the command line) and to `logPath`, which is
 * started anew when it holds twice `maxBytes`. Failures go to every other console too, and to tty0.
 */
export async function createConsole(options: {
  host: Host
  logPath: string
  maxBytes: number
  sysFolder: string
  devFolder: string
}): Promise<Console> {
  const { host, logPath, maxBytes, sysFolder, devFolder } = options
  const terminals = await otherTerminals(host, sysFolder)
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
  return {
    async line(text) {
      const whole = `muster: ${printable(text, 1000)}`
      host.print(whole)
      await keep(whole)
    },
    async failure(code, sentence) {
      const kind = isRefusal(code) ? 'refused' : 'failed'
      const whole = `muster: ${kind}: ${code}: ${printable(sentence, 1000)}`
      host.print(whole)
      for (const name of terminals) host.printTo(`${devFolder}/${name}`, whole)
      await keep(whole)
    },
    tail(bytes) {
      return lines.join('\n').slice(-bytes)
    },
  }
}

/**
 * /sys/class/tty/console/active lists the consoles, /dev/console's own one last. A serial port that no `console=` names
 * is left alone: something else may hang on it.
 */
async function otherTerminals(host: Host, sysFolder: string): Promise<string[]> {
  const active = asciiText(await host.readFile(`${sysFolder}/class/tty/console/active`, 256))
  const names = active.split(/\s+/).filter((name) => /^[A-Za-z0-9]+$/.test(name))
  return [...new Set([...names.slice(0, -1), 'tty0'])].filter((name) => name !== names.at(-1))
}
