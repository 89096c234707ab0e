/** The agent as one module for QuickJS: bundled from source in a checkout, as it was bundled in an installed package. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '../errors.ts'

const packageRoot = join(import.meta.dirname, '../..')

/** @throws MusterError build-failed */
export async function agentBundle(): Promise<Uint8Array> {
  const source = join(packageRoot, 'src/agent/main.ts')
  if (!existsSync(source)) return readFile(join(packageRoot, 'dist/agent.js'))
  // Loaded here, because a server that was set up before has no use for a bundler.
  const [{ build }, { agentBuildOptions }] = await Promise.all([
    import('esbuild'),
    import('../agent/aliases.ts'),
  ])
  try {
    const { outputFiles } = await build({ ...agentBuildOptions(), entryPoints: [source], write: false })
    return outputFiles[0]!.contents
  } catch (cause) {
    throw new MusterError('build-failed', `The agent's source does not bundle: ${(cause as Error).message}`, {
      cause,
    })
  }
}
