/**
 * `Content-Length`, not `content-length`. Names of header fields have no case (RFC 9110 §5.1), and clients of the firmware plane compare
 * them with one: the GRUB that Debian, Fedora and others sign takes its files through UEFI's HTTP protocol, looks for
 * `Content-Length` letter by letter, and takes every file for an empty one where it does not find it (run: 2.12 under OVMF).
 */
import {
  type IncomingMessage,
  type OutgoingHttpHeader,
  type OutgoingHttpHeaders,
  ServerResponse,
} from 'node:http'

export class ResponseInTitleCase<
  Request extends IncomingMessage = IncomingMessage,
> extends ServerResponse<Request> {
  override setHeader(name: string, value: number | string | readonly string[]): this {
    return super.setHeader(titleCase(name), value)
  }

  override writeHead(
    status: number,
    message?: string | OutgoingHttpHeaders | OutgoingHttpHeader[],
    fields?: OutgoingHttpHeaders | OutgoingHttpHeader[],
  ): this {
    const given = typeof message === 'string' ? fields : message
    if (given !== undefined && !Array.isArray(given))
      for (const [name, value] of Object.entries(given)) if (value !== undefined) this.setHeader(name, value)
    const rest = Array.isArray(given) ? given : undefined
    return typeof message === 'string'
      ? super.writeHead(status, message, rest)
      : super.writeHead(status, rest)
  }
}

function titleCase(name: string): string {
  return name.replace(/(?<![^-])[a-z]/g, (letter) => letter.toUpperCase())
}
