/** Says what this machine is, and opens a boot session with a key and a nonce made for it. */
import { toBase64, toHex } from '../../crypto/encoding.ts'
import { MusterError } from '../../errors.ts'
import { type HelloRequest, helloReply, protocolVersion } from '../../protocol/hello.ts'
import type { Agent } from '../agent.ts'
import { readMachine } from '../machine.ts'
import { jsonBytes, post } from '../server.ts'
import { createSession, type Session } from '../session.ts'
import { agentVersion } from '../version.ts'

/**
 * The servers (agent-plane URLs) are tried in order; the first that answers keeps the session.
 * @throws MusterError `server-pin` when one of them shows a wrong key and none answers, else `server-unreachable`,
 * `server-refused`
 */
export async function hello(agent: Agent, servers: readonly string[]): Promise<Session> {
  const { crypto, settings } = agent
  const key = crypto.createSigningKey()
  const nonce = toHex(crypto.randomBytes(32))
  const { identifiers, hardware } = await readMachine(agent)
  const request: HelloRequest = {
    protocol: protocolVersion,
    agent: { version: agentVersion, arch: agent.arch, origin: settings.config.origin },
    identifiers,
    hardware,
    sessionKey: toBase64(key.publicKey.spki),
    nonce,
  }
  const body = jsonBytes(request)
  const { server, answer } = await firstAnswer(agent, servers, body)
  const reply = helloReply.safeParse(answer)
  if (!reply.success)
    throw new MusterError(
      'server-refused',
      `${server} answers the hello with something this agent (protocol ${protocolVersion}) does not read: ` +
        `${reply.error.issues[0]?.path.join('.')} ${reply.error.issues[0]?.message}.`,
    )
  if (reply.data.repository !== settings.config.repository)
    throw new MusterError(
      'server-refused',
      `${server} serves the repository "${reply.data.repository}" and this agent trusts "${settings.config.repository}".`,
    )
  return createSession(agent, {
    reply: reply.data,
    server,
    nonce,
    hardwareIds: hardware.hardwareIds,
    helloSha256: toHex(crypto.sha256(body)),
    key,
  })
}

async function firstAnswer(
  agent: Agent,
  servers: readonly string[],
  body: Uint8Array,
): Promise<{ server: string; answer: unknown }> {
  const { limits } = agent
  const errors: unknown[] = []
  for (const server of servers) {
    const request = { server, path: '/agent/v1/hello', body, attempts: limits.requestAttempts }
    try {
      return { server, answer: await post(agent, { ...request, maxSeconds: limits.requestSeconds }) }
    } catch (error) {
      errors.push(error)
    }
  }
  throw errors.find((error) => error instanceof MusterError && error.code === 'server-pin') ?? errors.at(-1)
}
