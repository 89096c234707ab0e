/**
 * Whether a file can be read by TFTP at the address that machines are given. A file that does not exist is asked for first: its
 * ERROR comes from the request port itself, and DATA from a port of its own (RFC 1350 §4), so the two tell a closed port from a firewall or a
 * NAT that lets the replies of high ports fall.
 */
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { encodePacket, type Packet, parsePacket } from '../tftp/packet.ts'
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

/** boot/names.ts knows it too, so that `muster files unknown` leaves it out. */
export const noSuchFile = 'muster-doctor-asks-for-nothing'

export type TftpAnswer = { from: { address: string; port: number }; op: Packet['op'] }

export type TftpRead = {
  asked: { address: string; port: number }
  /** To a name that does not exist, and to one that does; undefined: silence. */
  missing: TftpAnswer | undefined
  script: TftpAnswer | undefined
}

export function judgeTftp({ asked, missing, script }: TftpRead): Verdict {
  const where = `${asked.address}:${asked.port}`
  if (missing === undefined && script === undefined)
    return trouble(
      `nothing answers TFTP at ${where}`,
      "is the server running ('muster status'), is advertise an address of it, and does a firewall let UDP in at that port?",
    )
  if (script === undefined)
    return trouble(
      `TFTP answers at ${where}, but no data comes: replies from ports of their own are dropped`,
      'let UDP replies of high ports through the firewall; a container needs the host network (--network host), because NAT lets only the request port back',
    )
  if (script.from.address !== asked.address)
    return trouble(
      `TFTP was asked at ${where}, and ${script.from.address} answered: firmware drops that`,
      `a NAT stands between, or the machine has several addresses: set tftp.host to ${asked.address}`,
    )
  if (script.op === 'error')
    return trouble(
      `TFTP at ${where} does not have autoexec.ipxe: another TFTP server answers there`,
      "stop that server ('ss -lunp sport = 69' names it), or give Muster an address of its own (tftp.host)",
    )
  if (asked.port !== 69)
    return trouble(
      `TFTP is at port ${asked.port}, and PXE firmware knows no other than 69`,
      'take tftp.port out of the settings where it was chosen, else give the right to take port 69; then start again: docs/ports.md',
    )
  return ok(
    `autoexec.ipxe is read from ${where}, from this machine; a firewall on the way to others is not seen from here`,
  )
}

export async function checkTftp(facts: Facts, waitMs: number): Promise<Verdict> {
  const { host, tftpPort } = facts
  if (tftpPort === undefined) return unknown('TFTP is off (tftp.enabled)')
  const address = /^\d+(\.\d+){3}$/.test(host) || isIPv6(host) ? host : undefined
  if (address === undefined)
    return unknown(`advertise is a name, ${host}: TFTP is checked at an address only`)
  return judgeTftp(await measureTftp({ address, port: tftpPort }, waitMs))
}

export async function measureTftp(asked: TftpRead['asked'], waitMs: number): Promise<TftpRead> {
  const [missing, script] = await Promise.all([
    ask(asked, noSuchFile, waitMs),
    ask(asked, 'autoexec.ipxe', waitMs),
  ])
  return { asked, missing, script }
}

/** The first answer to one request, which may come from anywhere; the transfer is ended at once. */
function ask(to: TftpRead['asked'], filename: string, waitMs: number): Promise<TftpAnswer | undefined> {
  const socket = createSocket(isIPv6(to.address) ? 'udp6' : 'udp4')
  const request = encodePacket({
    op: 'read',
    filename,
    mode: 'octet',
    options: new Map([['blksize', '1468']]),
  })
  return new Promise((resolve) => {
    const end = (answer: TftpAnswer | undefined) => {
      clearTimeout(timer)
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.close()
      resolve(answer)
    }
    const timer = setTimeout(() => end(undefined), waitMs)
    socket.on('error', () => end(undefined))
    socket.on('message', (bytes, from) => {
      // No answer can go there: node:dgram throws at the attempt.
      if (from.port === 0) return
      let op: Packet['op']
      try {
        op = parsePacket(bytes).op
      } catch {
        return
      }
      const stop = encodePacket({ op: 'error', code: 0, message: 'only looked' })
      socket.send(stop, from.port, from.address, () =>
        end({ from: { address: from.address, port: from.port }, op }),
      )
    })
    socket.send(request, to.port, to.address)
  })
}
