/** The lines that docs/dhcp.md tells people to give their dnsmasq, with the lab's address: what stands there is what is tried here. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { serverAddress } from './network.ts'

export function documentedDhcpLines(): string[] {
  const text = readFileSync(join(import.meta.dirname, '../../docs/dhcp.md'), 'utf8')
  const block = /## dnsmasq\n[\s\S]*?```\n([\s\S]*?)```/.exec(text)?.[1]
  if (block === undefined) throw new Error('docs/dhcp.md has no dnsmasq lines')
  const lines = block.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return lines.map((line) => line.replaceAll('192.0.2.1', serverAddress))
}
