/** Runs one program to its end and keeps what it said. */
import type { Host, Program } from './host.ts'
import { concatBytes } from './text.ts'

export type Result = { status: number; stdout: Uint8Array; stderr: string }

/** @see collect */
export async function run(host: Host, argv: readonly string[], maxOutputBytes = 65_536): Promise<Result> {
  const program = await host.start(argv)
  await program.closeInput()
  return collect(program, maxOutputBytes)
}

/**
 * Reads a program's output to its end and waits for it. One that writes more than `maxOutputBytes` is ended; what is
 * returned is then longer than that, so the caller can tell.
 */
export async function collect(program: Program, maxOutputBytes: number): Promise<Result> {
  const parts: Uint8Array[] = []
  let length = 0
  for (let part = await program.read(); part !== undefined; part = await program.read()) {
    parts.push(part)
    length += part.length
    if (length <= maxOutputBytes) continue
    program.kill()
    break
  }
  const { status, stderr } = await program.wait()
  return { status, stdout: concatBytes(parts), stderr }
}
