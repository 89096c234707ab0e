import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { dgramEngine } from '../../src/dhcp/engines/dgram.ts'
import { createInUse } from '../../src/dhcp/in-use.ts'

const head = 'IP address       HW type     Flags       HW address            Mask     Device\n'
const line = (address: string, flags: string) =>
  `${address}      0x1         ${flags}         02:00:00:00:00:01     *        eth0\n`

const silent = '127.0.0.9'
const client = '52:54:00:00:00:01'

/** Takes datagrams at `silent` and says nothing, like a host behind a firewall. */
async function silentHost() {
  const port = await dgramEngine.bind({ host: silent, port: 0, onDatagram() {}, onError() {} })
  return { port: port.local.port, [Symbol.asyncDispose]: () => port.close() }
}

async function withTable(text: string, run: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'muster-arp-'))
  try {
    const path = join(folder, 'arp')
    await writeFile(path, text)
    await run(path)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

describe('whether somebody has an address', () => {
  test('a machine that has no such port says so, and that is an answer', async () => {
    expect(await createInUse({ waitMs: 500 })('127.0.0.3', client)).toBe(true)
  })

  test('an ARP entry that appears while it is looked for is an answer, one that is still being asked for is none', async () => {
    await using host = await silentHost()
    await withTable(head, async (arpTable) => {
      const look = createInUse({ waitMs: 100, arpTable, port: host.port })
      const found = look(silent, client)
      await sleep(30)
      await writeFile(arpTable, head + line(silent, '0x2'))
      expect(await found).toBe(true)
      await writeFile(arpTable, head + line(silent, '0x0'))
      expect(await look(silent, client)).toBe(false)
    })
  })

  test('an ARP entry that was there before tells nothing: Linux keeps those of machines that are gone', async () => {
    await using host = await silentHost()
    await withTable(head + line(silent, '0x2'), async (arpTable) => {
      expect(await createInUse({ waitMs: 50, arpTable, port: host.port })(silent, client)).toBe(false)
    })
  })

  test('that the machine which asks still has the address itself is no conflict', async () => {
    await withTable(head + line('127.0.0.3', '0x2'), async (arpTable) => {
      const look = createInUse({ waitMs: 500, arpTable })
      expect(await look('127.0.0.3', '02:00:00:00:00:01')).toBe(false)
      expect(await look('127.0.0.3', client)).toBe(true)
    })
  })

  test('nobody has an address that cannot be written to', async () => {
    expect(await createInUse({ waitMs: 500 })('127.255.255.255', client)).toBe(false)
  })
})
