/** The command line's entry: the only file that reads the process (arguments, environment, signals), and gives it to cli/. */
import { existsSync } from 'node:fs'
import { setGlobalProxyFromEnv } from 'node:http'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { World } from './cli/context.ts'
import { exitCodes } from './cli/exit-code.ts'
import { run } from './cli/program.ts'
import { createNodeCrypto } from './crypto/node.ts'
import { createLog, type Log } from './log.ts'
import { agentBundle } from './setup/agent-bundle.ts'
import { agentConfigFor } from './setup/agent-images.ts'
import { calledAs, commandsOf } from './setup/commands.ts'
import { createProgressLines } from './setup/progress-lines.ts'
import { createRegistries } from './setup/registries.ts'
import { initRepository, recoverCeremony } from './signing/ceremony.ts'
import { durableFiles } from './store/durable-files.ts'

const { env } = process

// For the downloads of Debian packages, which go by the global fetch; registries have a transport of their own.
setGlobalProxyFromEnv()

const oneKeyMs = 500

function world(): World {
  const stop = new AbortController()
  let stoppedAt = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      // Of one Ctrl-C under `npm start` two signals come: the terminal's, and npm's own.
      if (stop.signal.aborted && performance.now() - stoppedAt < oneKeyMs) return
      // The second time nobody waits for connections to end.
      if (stop.signal.aborted) process.exit(130)
      stoppedAt = performance.now()
      stop.abort()
    })
  }
  return {
    env,
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    isTerminal: process.stderr.isTTY === true,
    packageRoot: join(import.meta.dirname, '..'),
    now: Date.now,
    signal: stop.signal,
    log: (settings) => createLog(settings),
    async serve({ loaded, print, signal }) {
      // Loaded here, so that `muster machines` does not wait for the whole server to be read.
      const { serve } = await import('./serve.ts')
      const commands = commandsOf({
        called: calledAs({ path: env['PATH'], folder: process.cwd() }),
        data: resolve(loaded.config.data),
      })
      const log = createLog(loaded.config.log, undefined, commands.typed)
      const isTerminal = process.stdout.isTTY === true
      // A person at a terminal reads what is printed; of what leads to a server that is ready only warnings are worth a line.
      if (isTerminal && loaded.sources.get('log.level') === 'default') log.level = 'warn'
      stopOnSurprise(log)
      await using running = await serve({ loaded, print, log, commands })
      await Promise.race([running.prepared, aborted(signal)])
      log.level = loaded.config.log.level
      await aborted(signal)
      print('Stopping; Ctrl-C again does not wait for what is under way.')
    },
    crypto: createNodeCrypto(),
    registry: ({ config, proxy }) => {
      const credentials = config.registry.credentials ?? dockerLogin()
      return createRegistries({ config: { ...config, registry: { ...config.registry, credentials } }, proxy })
        .client
    },
    async makeRepository(places) {
      await recoverCeremony({ ...places, files: durableFiles })
      await initRepository({ ...places, files: durableFiles, now: Date.now })
    },
    agentConfig: agentConfigFor,
    agentBundle,
    progressLines: createProgressLines,
  }
}

/**
 * What nobody caught leaves a state that nobody knows: serving on would be a guess, and so would an orderly stop. The next start
 * repairs what a kill leaves behind, and this is one that says why. Node would print a stack that no log collector takes for ours.
 */
function stopOnSurprise(log: Log): void {
  process.once('uncaughtException', (error, origin) => {
    log.error({ err: error, origin }, 'Muster met an error that nobody foresaw, and stops; please report it')
    process.exit(exitCodes.failed)
  })
}

/** What `docker login` or `oras login` left for this person. */
function dockerLogin(): string | undefined {
  const file = join(env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json')
  return existsSync(file) ? file : undefined
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `muster machines | head` closes the pipe when it has enough.
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})
process.exitCode = await run(process.argv.slice(2), world())
