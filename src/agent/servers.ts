/** Whom to ask, in which order. Where to ask is anybody's word; whom to believe is not: the key is pinned. */
import { MusterError } from '../errors.ts'
import type { Settings } from './config.ts'

/**
 * Agent-plane URLs in order: the named ones, then hosts that DHCP named as one to boot from. An agent that firmware starts itself
 * knows no more than that: neither UEFI nor systemd's stub leaves the URL that it was loaded from where Linux finds it (seen with
 * EDK2 2025.02: the image's file path is empty, and the boot option's URI too). The one of the round before comes last: whatever ended
 * that round (it went away, its disk is broken, nobody approves there), another may do better.
 * @throws MusterError `server-unreachable` when nobody names any
 */
export function serversToAsk(
  settings: Pick<Settings, 'config' | 'servers'>,
  bootHosts: readonly string[],
  before?: string,
): readonly string[] {
  const { config, servers } = settings
  const port = config.serverPort
  const named = port === undefined ? [] : bootHosts.map((host) => `https://${host}:${port}`)
  const all = [...new Set([...servers, ...named])]
  if (all.length > 0)
    return [...all.filter((each) => each !== before), ...all.filter((each) => each === before)]
  throw new MusterError(
    'server-unreachable',
    'Nobody names a server: not the command line, not DHCP (boot file, next-server, option 66). ' +
      "Set 'advertise' on the server, or build the agent with --server.",
  )
}
