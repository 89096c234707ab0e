/** One POST to the agent plane: curl, the pinned key, and what its failures are called. */
import { MusterError } from '../errors.ts'
import { decodeUtf8, encodeUtf8 } from '../wire/utf8.ts'
import type { Agent } from './agent.ts'
import { curlExit, readCurlError, startCurl } from './curl.ts'
import { collect } from './program.ts'
import { pauseMs } from './retry.ts'
import { printable } from './text.ts'

export type Post = {
  server: string
  path: string
  body: Uint8Array
  headers?: Readonly<Record<string, string>>
  /** Tries while the server cannot be reached or is too busy; the same bytes each time. */
  attempts: number
  maxSeconds: number
}

type Connection = Pick<Agent, 'host' | 'limits' | 'folders' | 'settings'>

/**
 * The reply's JSON, attacker-controlled until its schema was applied; undefined for 204.
 * @throws MusterError `server-pin`, `server-unreachable`, `server-refused` (with the server's code and sentence)
 */
export async function post(agent: Connection, request: Post): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    const answer = await postOnce(agent, request)
    if (!(answer instanceof MusterError)) return answer
    if (!answer.details['again'] || attempt >= request.attempts) throw answer
    await agent.host.sleep(pauseMs(agent, attempt, Number(answer.details['retryAfterSeconds'] ?? 0)))
  }
}

async function postOnce(agent: Connection, request: Post): Promise<unknown> {
  const { host, limits, folders, settings } = agent
  const url = `${request.server}${request.path}`
  const bodyPath = `${folders.work}/request`
  await host.writeFile(bodyPath, request.body, 0o600)
  const program = await startCurl(host, limits, {
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json', ...request.headers },
    bodyPath,
    pins: settings.config.pins,
    maxBytes: limits.replyBytes,
    maxSeconds: request.maxSeconds,
  })
  const { status, stdout, stderr } = await collect(program, limits.replyBytes)
  const { httpCode, retryAfterSeconds, complaint } = readCurlError(stderr)
  if (status === curlExit.pinnedKey)
    return new MusterError(
      'server-pin',
      `${request.server} shows another public key than the one this agent was built for. ` +
        'Something stands between, or the server has a new key: then build the agent again.',
    )
  if (status === curlExit.tooLarge || stdout.length > limits.replyBytes)
    return refused(url, `its reply is longer than ${limits.replyBytes} bytes`, false)
  if (status !== curlExit.ok)
    return new MusterError(
      'server-unreachable',
      `${url} does not answer: ${printable(complaint, 200) || `curl ended with ${status}`}. ` +
        'Check that Muster runs there, and cable, VLAN and firewall.',
      { details: { again: true, status } },
    )
  return readReply(url, { httpCode, retryAfterSeconds }, stdout)
}

function readReply(
  url: string,
  { httpCode, retryAfterSeconds }: { httpCode: number; retryAfterSeconds: number },
  body: Uint8Array,
): unknown {
  let json: unknown
  try {
    json = JSON.parse(decodeUtf8(body))
  } catch {
    json = undefined
  }
  if (httpCode === 204) return undefined
  if (httpCode >= 200 && httpCode <= 299)
    return json === undefined ? refused(url, 'its reply is not JSON', false) : json
  // RFC 9457, with our code in it.
  const { code, detail } = (json ?? {}) as { code?: unknown; detail?: unknown }
  const reason = [code, detail].filter((part) => typeof part === 'string').join(': ')
  const sentence = `it answers ${httpCode}${reason === '' ? '' : ` (${printable(reason, 300)})`}`
  return refused(url, sentence, httpCode === 429 || httpCode >= 500, retryAfterSeconds)
}

function refused(url: string, reason: string, again: boolean, retryAfterSeconds = 0): MusterError {
  return new MusterError('server-refused', `${url} refuses: ${reason}.`, {
    details: { again, retryAfterSeconds },
  })
}

/** The bytes that are sent, and signed, and hashed: made once. */
export function jsonBytes(value: unknown): Uint8Array {
  return encodeUtf8(JSON.stringify(value))
}
