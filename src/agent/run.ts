/** Rounds of booting, each with a new hello, until the machine runs something else. */
import type { Crypto } from '../crypto/crypto.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import { type Agent, type Folders, machineFolders } from './agent.ts'
import { bootOnce, type Rounds } from './boot.ts'
import { readSettings } from './config.ts'
import { createConsole } from './console.ts'
import type { Host } from './host.ts'
import { defaultLimits, type Limits } from './limits.ts'
import { createMemoryMeter } from './memory.ts'
import { run } from './program.ts'
import { createReporter } from './report.ts'
import { backoffMs } from './retry.ts'
import type { Refresh } from './steps/metadata.ts'
import { asciiText, printable } from './text.ts'

/** What the machine is told to do when the agent gives it up. */
export type Ending = 'restart' | 'power-off'

type Parts = { host: Host; crypto: Crypto; refresh: Refresh; folders?: Folders; limits?: Limits }

/**
 * Never throws. `maxRounds` is for tests; on a machine only kexec, `skip` and the policy end the rounds.
 *
 * @returns undefined after `maxRounds`
 */
export async function runAgent(parts: Parts & { maxRounds?: number }): Promise<Ending | undefined> {
  const { host, folders = machineFolders, limits = defaultLimits } = parts
  await host.makeFolder(folders.work)
  const console = await createConsole({
    host,
    logPath: `${folders.work}/console.log`,
    maxBytes: limits.consoleBytes,
    sysFolder: folders.sys,
    devFolder: folders.dev,
  })
  let agent: Agent
  try {
    agent = await createAgent({ ...parts, folders, limits, console })
  } catch (error) {
    // Nothing that would change by itself: a person has to build the agent again.
    await console.failure(errorCodeOf(error), sentenceOf(error))
    await host.sleep(limits.roundMostMs)
    return 'restart'
  }
  return rounds(agent, parts.maxRounds ?? Number.POSITIVE_INFINITY)
}

async function createAgent(
  parts: Parts & { folders: Folders; limits: Limits; console: Agent['console'] },
): Promise<Agent> {
  const { host, folders, limits } = parts
  const memory = await createMemoryMeter(host, folders.proc)
  const uptimeSeconds = Number(asciiText(await host.readFile(`${folders.proc}/uptime`, 64)).split(' ')[0])
  const kernelStartMs = host.now() - uptimeSeconds * 1000
  const uptimeMs = () => Math.round(host.now() - kernelStartMs)
  return {
    ...parts,
    settings: await readSettings(host, folders),
    arch: await readArch(host),
    memory,
    reporter: createReporter({ uptimeMs, memory, limits }),
  }
}

async function readArch(host: Host): Promise<Agent['arch']> {
  const { stdout } = await run(host, ['uname', '-m'])
  const name = asciiText(stdout).trim()
  if (name === 'x86_64') return 'amd64'
  if (name === 'aarch64') return 'arm64'
  throw new MusterError(
    'agent-config-invalid',
    `This agent knows x86_64 and aarch64, and the machine is "${name}".`,
  )
}

async function rounds(agent: Agent, maxRounds: number): Promise<Ending | undefined> {
  const { host, console, limits, settings } = agent
  const { attempts, fallback } = settings.config.policy.onFailure
  const known: Rounds = {}
  let failures = 0
  for (let round = 1; round <= maxRounds; round++) {
    try {
      const end = await bootOnce(agent, known)
      if ('elsewhere' in end) {
        await console.line(
          `approval: not here yet (${printable(end.elsewhere, 300)}); asking the other servers`,
        )
        await agent.reporter.flush({ attempts: 2 })
        continue
      }
      await console.line(`skip: ${printable(end.skip, 300)}; restarting, so that the firmware goes on`)
      await agent.reporter.flush({ attempts: 2 })
      await host.sleep(limits.farewellMs)
      return 'restart'
    } catch (error) {
      await tellFailure(agent, error)
    }
    failures += 1
    if (attempts > 0 && failures >= attempts && fallback !== 'wait') {
      const ending = fallback === 'power-off' ? 'power-off' : 'restart'
      await console.line(`giving up after ${failures} rounds, as the policy says: ${fallback}`)
      await host.sleep(limits.farewellMs)
      return ending
    }
    const bounds = { firstMs: limits.roundFirstMs, mostMs: limits.roundMostMs }
    const delayMs = backoffMs(failures, bounds, () => host.random())
    await console.line(`trying again in ${Math.ceil(delayMs / 1000)} s`)
    if (round < maxRounds) await host.sleep(delayMs)
  }
  return undefined
}

/** To the console first: the server may be what failed. */
async function tellFailure(agent: Agent, error: unknown): Promise<void> {
  const { console, reporter, limits } = agent
  await console.failure(errorCodeOf(error), sentenceOf(error))
  await reporter.flush({ console: await lastConsole(agent, limits.consoleBytes), attempts: 2 })
}

/** The kernel's last lines (a driver or a cable may be the reason), then the agent's; ASCII, at most `maxBytes`. */
async function lastConsole(agent: Agent, maxBytes: number): Promise<string> {
  const kernel = asciiText((await run(agent.host, ['dmesg'], 8 * maxBytes)).stdout)
  const half = Math.floor(maxBytes / 2) - 1
  return `${kernel.replace(/[^\x09\x0a\x20-\x7e]/g, '?').slice(-half)}\n${agent.console.tail(half)}`
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
