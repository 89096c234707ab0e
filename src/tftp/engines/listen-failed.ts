/** A port that cannot be opened, in a sentence with the way out. */
import { isIPv6 } from 'node:net'
import { MusterError } from '../../errors.ts'

const waysOut: Record<string, string> = {
  EADDRINUSE: 'another program uses it; stop that program or choose another port',
  EACCES: 'this user may not open ports below 1024; choose 6969, or give the right (docs/ports.md)',
  EADDRNOTAVAIL: 'this machine has no such address; choose one of its own',
}

/** `error.code` is the system's name for it, as in `EADDRINUSE`. */
export function listenFailed(
  { host, port }: { host: string; port: number },
  error: NodeJS.ErrnoException,
): MusterError {
  const where = isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
  const reason = waysOut[error.code ?? ''] ?? error.message
  return new MusterError('listen-failed', `UDP ${where} cannot be opened: ${reason}`, {
    cause: error,
    details: { host, port, reason: error.code },
  })
}
