/** A boot session: requests signed by the key that its hello carried (protocol/session.ts). */

import type { SigningKey } from '../crypto/crypto.ts'
import { toBase64, toHex } from '../crypto/encoding.ts'
import type { HelloReply } from '../protocol/hello.ts'
import { sessionHeaders, signedText } from '../protocol/session.ts'
import { encodeUtf8 } from '../wire/utf8.ts'
import type { Agent } from './agent.ts'
import { jsonBytes, post } from './server.ts'

export type Session = {
  reply: HelloReply
  /** The server that answered; the session lives there. */
  server: string
  nonce: string
  /** What the hello said this machine is; a release names the ones that it is for. */
  hardwareIds: readonly string[]
  /** sha256 of the exact bytes of the hello, lower-case hexadecimal. */
  helloSha256: string
  /**
   * `POST /agent/v1/boots/<boot>/<what>`; each call is the next number of the sequence, its retries the same.
   * `brief`: a fraction of the time, for what the boot does not depend on.
   * @throws MusterError `server-pin`, `server-unreachable`, `server-refused`
   */
  post(
    what: 'plan' | 'events',
    body: unknown,
    options?: { attempts?: number; brief?: boolean },
  ): Promise<unknown>
}

export function createSession(agent: Agent, opened: Omit<Session, 'post'> & { key: SigningKey }): Session {
  const { key, ...facts } = opened
  const { reply, server } = facts
  let sequence = 0
  return {
    ...facts,
    async post(what, value, options = {}) {
      const path = `/agent/v1/boots/${reply.boot}/${what}`
      const body = jsonBytes(value)
      sequence += 1
      const text = signedText({
        method: 'POST',
        path,
        boot: reply.boot,
        sequence,
        bodySha256: toHex(agent.crypto.sha256(body)),
      })
      const { requestSeconds, requestAttempts } = agent.limits
      return post(agent, {
        server,
        path,
        body,
        headers: {
          [sessionHeaders.boot]: reply.boot,
          [sessionHeaders.sequence]: String(sequence),
          [sessionHeaders.signature]: toBase64(key.sign(encodeUtf8(text))),
        },
        attempts: options.attempts ?? requestAttempts,
        maxSeconds: options.brief ? Math.ceil(requestSeconds / 6) : requestSeconds,
      })
    },
  }
}
