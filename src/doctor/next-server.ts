/** Where the answers on this segment send firmware: to this server, and to no other. */
import type { Offer } from '../dhcp/probe.ts'
import { type Facts, ok, trouble, type Verdict } from './check.ts'

/** @param offers to a question that UEFI x64 firmware would ask. */
export function judgeNextServer(offers: readonly Offer[], facts: Facts): Verdict {
  const { dhcpMode, host, own } = facts
  const ours = new Set([...own, host])
  // Many servers put their own address into siaddr without meaning anything by it: only with a file is it an answer.
  const naming = offers.filter(({ file }) => file !== '')
  const wrong = naming.find((offer) => !ours.has(hostOf(offer)))
  if (wrong !== undefined)
    return trouble(
      `${wrong.server} sends firmware to ${hostOf(wrong)} for "${wrong.file.slice(0, 80)}", not to ${host}`,
      dhcpMode === 'off'
        ? `set next-server and file there to what docs/dhcp.md says, with ${host} for the address`
        : 'take next-server and boot file out of that server: firmware listens to whoever names one',
    )
  if (naming.length > 0)
    return ok(`firmware is sent to ${hostOf(naming[0] as Offer)} for "${naming[0]?.file.slice(0, 80)}"`)
  return trouble(
    'nobody on this segment says what to boot',
    dhcpMode === 'off'
      ? `put the lines of docs/dhcp.md into your DHCP server, with ${host} for the address; or set dhcp.mode to proxy, which leaves that server as it is`
      : 'this server should: a firewall may drop port 67, or its TFTP is not at port 69 (docs/ports.md)',
  )
}

function hostOf({ file, nextServer }: Offer): string {
  return /^https?:\/\/(\[[^\]]*\]|[^/:]*)/.exec(file)?.[1] ?? nextServer
}
