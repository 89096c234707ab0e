/**
 * HTTP by curl. Options go in by standard input (`-K -`), so nothing of a request stands in a process list.
 *
 * TLS is never checked against authorities: a machine without a clock could not, and what counts is checked otherwise;
 * the server by its pinned key, content and metadata by signature and digest.
 */
import { encodeUtf8 } from '../wire/utf8.ts'
import type { Host, Program } from './host.ts'
import type { Limits } from './limits.ts'

export type CurlRequest = {
  url: string
  method?: 'GET' | 'POST'
  headers?: Readonly<Record<string, string>>
  /** A file whose bytes are the body. */
  bodyPath?: string
  /** `sha256//<base64>` each; any one of them may match. */
  pins?: readonly string[]
  /** curl stops by itself where the length is announced or exceeded; callers count all the same. */
  maxBytes: number
  /** Bound on the whole transfer; without it only a transfer that stalls ends. */
  maxSeconds?: number
  /** Resume behind so many bytes; ends with status 33 where the server sends the whole again. */
  offset?: number
  followRedirects?: boolean
}

/** curl's exit statuses that the agent tells apart (curl(1), "EXIT CODES"). */
export const curlExit = {
  ok: 0,
  partial: 18,
  httpError: 22,
  noRange: 33,
  tooLarge: 63,
  pinnedKey: 90,
} as const

export async function startCurl(host: Host, limits: Limits, request: CurlRequest): Promise<Program> {
  const program = await host.start(['curl', '-q', '-K', '-'])
  await program.write(encodeUtf8(curlConfig(limits, request)))
  await program.closeInput()
  return program
}

/** One option a line, each value quoted: curl(1), `--config`. */
export function curlConfig(limits: Limits, request: CurlRequest): string {
  const lines: [string, string?][] = [
    ['url', request.url],
    ['proto', '=http,https'],
    ['insecure'],
    ['silent'],
    ['show-error'],
    ['globoff'],
    ['connect-timeout', String(limits.connectSeconds)],
    ['speed-limit', String(limits.speedBytesPerSecond)],
    ['speed-time', String(limits.speedSeconds)],
    ['max-filesize', String(request.maxBytes)],
    ['write-out', '%{stderr}\nhttp_code=%{http_code}\nretry_after=%header{retry-after}\n'],
    ['request', request.method ?? 'GET'],
  ]
  if (request.pins !== undefined) lines.push(['pinnedpubkey', request.pins.join(';')])
  if (request.bodyPath === undefined) lines.push(['fail'])
  else lines.push(['data-binary', `@${request.bodyPath}`], ['header', 'expect:'])
  if (request.maxSeconds !== undefined) lines.push(['max-time', String(request.maxSeconds)])
  if (request.offset) lines.push(['continue-at', String(request.offset)])
  if (request.followRedirects) lines.push(['location'], ['max-redirs', '5'], ['proto-redir', '=http,https'])
  for (const [name, value] of Object.entries(request.headers ?? {}))
    lines.push(['header', `${name}: ${value}`])
  return lines
    .map(([name, value]) => (value === undefined ? `${name}\n` : `${name} = ${quote(value)}\n`))
    .join('')
}

/** Inside quotes only backslash, quote and the line's end are special. URLs come from strangers, so all are escaped. */
function quote(value: string): string {
  const escaped = value
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
  return `"${escaped}"`
}

/**
 * What curl wrote to standard error, apart: the reply's status (0: none came), how long it asks to wait (RFC 9110 §10.2.3 in
 * seconds; 0: not said, or as a date, which a machine without a clock cannot read), and curl's complaint in one line.
 */
export function readCurlError(stderr: string): {
  httpCode: number
  retryAfterSeconds: number
  complaint: string
} {
  const [, httpCode, retryAfter] = /\nhttp_code=(\d{3})\nretry_after=(.*)\n/.exec(stderr) ?? []
  const complaint = stderr.replace(/\n?http_code=\d{3}\nretry_after=.*\n/, '').replace(/^curl: /gm, '')
  return {
    httpCode: Number(httpCode ?? 0),
    retryAfterSeconds: /^\d{1,6}$/.test(retryAfter ?? '') ? Number(retryAfter) : 0,
    complaint: complaint.replaceAll('\n', ' ').trim(),
  }
}
