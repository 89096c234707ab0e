/** Why a server could not be asked, as a sentence with the way out: a person does not read OpenSSL. */
import { MusterError } from '../errors.ts'
import { isLoopbackHost } from '../http/admin-access.ts'
import { systemReason } from '../system-error.ts'
import type { ApiTarget } from './api-client.ts'

/** Node's names for a certificate that no authority vouches for. */
const unknownCertificate =
  /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_\w+|CERT_\w+|ERR_TLS_CERT_ALTNAME_INVALID)$/
/** OpenSSL's, where what comes is no TLS record: it reads the first bytes of "HTTP/1.1 400" as a version or a length. */
const notTls = /^(?:ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG|ERR_SSL_HTTP_REQUEST|EPROTO)$/
/** What Node's HTTP says of bytes that are no HTTP: the alert of a TLS server, for one. */
const notHttp = /^HPE_\w+$/
/** A TLS server may hang up on a plain request; so does anything else that is stopped, or that a proxy stands before. */
const hungUp = /^(?:ECONNRESET|EPIPE)$/

export function unreachable(target: ApiTarget, cause: unknown): MusterError {
  const { code = '' } = cause as NodeJS.ErrnoException
  if (target.kind === 'url')
    return new MusterError('server-unreachable', urlSentence(target.url, code, cause), { cause })
  if (code === 'EACCES' || code === 'EPERM')
    return new MusterError(
      'access-denied',
      `The socket ${target.path} belongs to another user. Run this as the user of the server, or give --url and --token.`,
      { cause },
    )
  return new MusterError(
    'server-unreachable',
    `No Muster answers at ${target.path}. Start it with 'muster serve', name its data folder with --data, or another server with --url and --token.`,
    { cause },
  )
}

function urlSentence({ protocol, origin, host, hostname }: URL, code: string, cause: unknown): string {
  const secure = protocol === 'https:'
  // Only there does the admin plane speak plain HTTP; from elsewhere the port is another plane's.
  if (secure && notTls.test(code) && !isLoopbackHost(hostname))
    return `What answers at ${origin} speaks plain HTTP, and an admin plane that can be reached from other machines speaks TLS. It may be the firmware plane of a Muster (port 8080 where nobody set it): the admin plane has a port of its own (admin.port, 9443), which 'muster status' on that machine shows.`
  if (secure && notTls.test(code))
    return `What answers at ${origin} speaks plain HTTP, as the admin plane does while it listens on loopback. On that machine (or through an SSH tunnel) say --url http://${host}; for https from elsewhere set admin.host there.`
  if (secure && unknownCertificate.test(code))
    return `No authority vouches for the certificate of ${origin} (${code}). Give the server's key with --pin: its own 'muster status' prints it.`
  if (!secure && notHttp.test(code))
    return `What answers at ${origin} does not speak plain HTTP (${code}). Where admin.host is not loopback the admin plane speaks TLS: say --url https://${host} with --pin.`
  if (hungUp.test(code))
    return secure
      ? `What answers at ${origin} broke the connection off. Check that the port is the admin plane's ('muster status' there shows it), and that the server is not just stopping.`
      : `What answers at ${origin} broke the connection off. Where admin.host is not loopback the admin plane speaks TLS, and that may be it: say --url https://${host} with --pin. Otherwise the server may be stopping: look at its log.`
  return `No Muster answers at ${origin}: ${systemReason(cause)}. Check the address, and that admin.host there is not loopback only.`
}
