/**
 * How the agent is bundled for QuickJS, and the one place where npm's Node modules are swapped for ours.
 *
 * Runs on Node, while building. tuf-js's store and @tufjs/models import exactly these modules; `platform: neutral` makes
 * any other Node module that an update might bring in an error of the build, not of a machine in the field.
 */
import { join } from 'node:path'
import type { BuildOptions } from 'esbuild'

const shim = (name: string) => join(import.meta.dirname, 'tuf-shims', `${name}.ts`)

export const agentAliases: Readonly<Record<string, string>> = {
  crypto: shim('crypto'),
  util: shim('deep-equal'),
  minimatch: shim('minimatch'),
}

/**
 * esbuild's options for one bundle that `qjs --module` runs: pass `entryPoints` and where to write, or `write: false`.
 * The same sources give the same bytes: no paths, no times.
 */
export function agentBuildOptions(): BuildOptions {
  return {
    bundle: true,
    format: 'esm',
    platform: 'neutral',
    // Debian 13's QuickJS (2025.04.26) is ES2023.
    target: 'es2023',
    mainFields: ['module', 'main'],
    conditions: ['import', 'default'],
    external: ['std', 'os'],
    alias: { ...agentAliases },
    inject: [shim('globals')],
    minifySyntax: true,
    minifyWhitespace: true,
    charset: 'utf8',
    legalComments: 'none',
    logLevel: 'silent',
    absWorkingDir: join(import.meta.dirname, '../..'),
  }
}
