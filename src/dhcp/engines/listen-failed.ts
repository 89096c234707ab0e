/** A port that cannot be opened, in a sentence with the way out. */
import { MusterError } from '../../errors.ts'
import type { BindOptions } from '../engine.ts'

const waysOut: Record<string, string> = {
  EADDRINUSE: 'another DHCP server runs on this machine; stop it, or let Muster do without (dhcp.mode: off)',
  EACCES: 'this user may not open ports below 1024; give the right (docs/ports.md)',
  EADDRNOTAVAIL: 'this machine has no such address; choose one of its own',
}

/** `error.code` is the system's name for it, as in `EADDRINUSE`. */
export function listenFailed(
  { host, port }: Pick<BindOptions, 'host' | 'port'>,
  error: NodeJS.ErrnoException,
): MusterError {
  const reason = waysOut[error.code ?? ''] ?? error.message
  return new MusterError('listen-failed', `UDP ${host}:${port} cannot be opened: ${reason}`, {
    cause: error,
    details: { host, port, reason: error.code },
  })
}
