/**
 * Credentials from docker's config.json: `auths`, `credHelpers`, `credsStore`. What `docker login`, `podman login` and
 * `oras login` wrote works here.
 */
import { spawn } from 'node:child_process'
import * as z from 'zod'
import { MusterError } from '../errors.ts'
import type { CredentialLookup, Credentials } from './auth.ts'

const helperName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)
const configSchema = z.object({
  auths: z
    .record(
      z.string(),
      z.object({
        auth: z.string().optional(),
        username: z.string().optional(),
        password: z.string().optional(),
        identitytoken: z.string().optional(),
        registrytoken: z.string().optional(),
      }),
    )
    .optional(),
  credHelpers: z.record(z.string(), helperName).optional(),
  credsStore: helperName.optional(),
})

/** Asks a credential helper for one server; undefined when it has nothing. */
export type CredentialHelper = (
  helper: string,
  serverUrl: string,
) => Promise<{ username: string; secret: string } | undefined>

/**
 * @param config the text of config.json
 * @throws config-invalid at once for a file that cannot be read as one; the lookup throws registry-unauthorized when a
 * helper fails
 */
export function dockerCredentials(
  config: string,
  runHelper: CredentialHelper = runDockerHelper,
): CredentialLookup {
  const { auths = {}, credHelpers = {}, credsStore } = parseConfig(config)
  const byHost = new Map(Object.entries(auths).map(([key, value]) => [hostOf(key), value]))

  return async (registry) => {
    const helper = credHelpers[registry] ?? credsStore
    if (helper !== undefined) {
      const found = await runHelper(helper, serverUrlOf(registry))
      // docker-credential-helpers: the user name `<token>` marks an identity token.
      if (found?.username === '<token>') return { kind: 'identity-token', token: found.secret }
      if (found !== undefined) return { kind: 'basic', username: found.username, password: found.secret }
    }
    const entry = byHost.get(hostOf(serverUrlOf(registry)))
    return entry === undefined ? undefined : toCredentials(entry)
  }
}

function toCredentials(entry: {
  auth?: string | undefined
  username?: string | undefined
  password?: string | undefined
  identitytoken?: string | undefined
  registrytoken?: string | undefined
}): Credentials | undefined {
  if (entry.identitytoken) return { kind: 'identity-token', token: entry.identitytoken }
  if (entry.registrytoken) return { kind: 'registry-token', token: entry.registrytoken }
  const pair = entry.auth ? Buffer.from(entry.auth, 'base64').toString('utf8') : undefined
  const colon = pair?.indexOf(':') ?? -1
  if (pair !== undefined && colon > 0) {
    // Older dockers pad the password with zero bytes.
    const password = pair.slice(colon + 1).replace(/\0+$/, '')
    return { kind: 'basic', username: pair.slice(0, colon), password }
  }
  if (entry.username && entry.password !== undefined) {
    return { kind: 'basic', username: entry.username, password: entry.password }
  }
  return undefined
}

function parseConfig(text: string): z.infer<typeof configSchema> {
  try {
    return configSchema.parse(JSON.parse(text))
  } catch (cause) {
    const where =
      cause instanceof z.ZodError ? `: ${cause.issues[0]?.path.join('.')} ${cause.issues[0]?.message}` : ''
    // The cause of a JSON error quotes the file, and the file holds passwords.
    throw new MusterError(
      'config-invalid',
      `The docker config.json cannot be read${where || ': it is not JSON'}.`,
    )
  }
}

/** Docker Hub's entry has a name of its own, older than the others. */
function serverUrlOf(registry: string): string {
  return registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry
}

function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
}

const helperTimeoutMs = 15_000
const helperBytesMax = 64 * 1024

/** Runs `docker-credential-<helper> get`, the server on its standard input, JSON on its output. */
export const runDockerHelper: CredentialHelper = (helper, serverUrl) =>
  new Promise((resolve, reject) => {
    const program = `docker-credential-${helper}`
    const fail = (reason: string, cause?: unknown) =>
      reject(
        new MusterError(
          'registry-unauthorized',
          `${program} gave no credentials for ${serverUrl}: ${reason}.`,
          { cause },
        ),
      )
    const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'], timeout: helperTimeoutMs })
    let output = ''
    child.once('error', (cause) => fail('it could not be started', cause))
    child.stdin.on('error', () => {})
    child.stdin.end(serverUrl)
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      if (output.length > helperBytesMax) child.kill('SIGKILL')
    })
    child.once('close', (status, signal) => {
      if (/credentials not found/.test(output)) return resolve(undefined)
      if (status !== 0) return fail(`it ended with ${status ?? signal}`)
      const found = helperReply(output)
      return found === undefined ? fail('its answer is not the JSON expected') : resolve(found)
    })
  })

function helperReply(output: string): { username: string; secret: string } | undefined {
  try {
    const parsed = z.object({ Username: z.string(), Secret: z.string() }).safeParse(JSON.parse(output))
    return parsed.success ? { username: parsed.data.Username, secret: parsed.data.Secret } : undefined
  } catch {
    return undefined
  }
}
