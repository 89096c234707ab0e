/** Who gives addresses on this segment: exactly one should. */
import { anyAddress } from '../dhcp/address.ts'
import type { Offer } from '../dhcp/probe.ts'
import { type Facts, ok, trouble, type Verdict } from './check.ts'

export function judgeOtherDhcp(offers: readonly Offer[], { dhcpMode, own }: Facts): Verdict {
  const giving = offers.filter(({ address }) => address !== anyAddress)
  const others = [
    ...new Set(giving.filter(({ server }) => !own.includes(server)).map(({ server }) => server)),
  ]
  const we = giving.some(({ server }) => own.includes(server))
  if (we && others.length > 0)
    return trouble(
      `this server and ${others.join(', ')} give addresses on one segment`,
      'stop the other DHCP server, or set dhcp.mode to proxy (or auto, which steps back by itself)',
    )
  if (others.length > 1)
    return trouble(
      `${others.join(' and ')} give addresses on one segment: machines take whichever is faster`,
      'find out which of them should not be there, and stop it; its Ethernet address is in tcpdump -e port 67',
    )
  if (we) return ok('this server gives addresses, and nobody else does')
  if (others.length === 1) return ok(`${others[0]} gives addresses, and nobody else does`)
  return trouble(
    'nobody gives addresses on this segment: a machine that boots gets none',
    dhcpMode === 'server'
      ? "this server should: its pools may be exhausted or of another network ('muster config' shows dhcp.pools), or a firewall drops port 67"
      : 'start your DHCP server, plug in its cable or relay; or let Muster give addresses: dhcp.mode server, docs/dhcp.md',
  )
}
