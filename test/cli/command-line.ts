/** Runs command lines in-process, as main.ts does, and keeps what they print. */
import { join } from 'node:path'
import type { World } from '../../src/cli/context.ts'
import { run } from '../../src/cli/program.ts'
import { createNodeCrypto } from '../../src/crypto/node.ts'
import { silentLog } from '../../src/log.ts'

export type Ran = { code: number; out: string; err: string }

export async function muster(
  argv: readonly string[],
  options: {
    env?: Record<string, string>
    signal?: AbortSignal
    onOutput?: (text: string) => void
    world?: Partial<World>
  } = {},
): Promise<Ran> {
  const ran: Ran = { code: -1, out: '', err: '' }
  const refuse = () => {
    throw new Error('this test does not do that')
  }
  ran.code = await run(argv, {
    env: options.env ?? {},
    stdout(text) {
      ran.out += text
      options.onOutput?.(text)
    },
    stderr(text) {
      ran.err += text
    },
    isTerminal: false,
    packageRoot: join(import.meta.dirname, '../..'),
    now: () => Date.parse('2026-01-31T08:05:00Z'),
    signal: options.signal ?? new AbortController().signal,
    log: () => silentLog,
    serve: refuse,
    crypto: createNodeCrypto(),
    registry: refuse,
    makeRepository: refuse,
    agentConfig: refuse,
    agentBundle: refuse,
    progressLines: refuse,
    ...options.world,
  })
  return ran
}
