/** Whether a whole TFTP block fits one packet of the interface that machines are served by. */
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

/** IPv4, UDP and TFTP headers of a block. */
const headerBytes = 32

export function judgeMtu(measured: { name: string; mtuBytes: number }, blockBytes: number): Verdict {
  const { mtuBytes, name } = measured
  const fits = mtuBytes - headerBytes
  if (blockBytes <= fits) return ok(`a block of ${blockBytes} bytes fits the MTU of ${name}, ${mtuBytes}`)
  return trouble(
    `the MTU of ${name} is ${mtuBytes}, so a TFTP block of ${blockBytes} bytes travels in fragments, and many ROMs take none`,
    `set tftp.blockBytesMax to ${fits}, or the MTU back to ${blockBytes + headerBytes}`,
  )
}

export async function checkMtu({ blockBytes, host }: Facts): Promise<Verdict> {
  const name = Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some(({ address }) => address === host),
  )?.[0]
  if (name === undefined) return unknown(`${host} is not an address of an interface here`)
  try {
    const mtuBytes = Number(await readFile(`/sys/class/net/${name}/mtu`, 'utf8'))
    return judgeMtu({ name, mtuBytes }, blockBytes)
  } catch (error) {
    return unknown(`the MTU of ${name} cannot be read: ${(error as Error).message}`)
  }
}
