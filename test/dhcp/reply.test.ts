/** What each firmware is answered, written out. The expectations are what docs/firmware.md says, by real packets where there are some. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { options } from '../../src/dhcp/options.ts'
import { encodePacket, latin1Text, parsePacket } from '../../src/dhcp/packet.ts'
import { destinationOf, replyLimit } from '../../src/dhcp/reply.ts'
import { dhcpPorts } from '../../src/dhcp/server.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { discover, request, server, shown, site, vector, vectorBytes, vectorNames } from './world.ts'

const nobody = '97 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00'
const script = `http://${server}:8080/boot/autoexec.ipxe`
const network = ['1 255.255.255.0', '3 10.9.0.254', '6 10.9.0.53']
const wholeLease = ['51 600 s', '58 300 s', '59 525 s']
/** Of a client that nobody knows. */
const times = ['51 300 s', '58 150 s', '59 262 s']

describe('a ProxyDHCP answer', () => {
  const proxied = async (name: string, more: Parameters<ReturnType<typeof site>['ask']>[1] = {}) => {
    const asked = vector(name)
    return shown(await site().ask(asked, { mode: 'proxy', ...more }), asked)
  }

  test('EDK2 gets option 60, and 43 that lets it load the file without a boot server and without a menu', async () => {
    expect(await proxied('ovmf-proxy43-0-67-type1')).toEqual({
      ...{ type: 'OFFER', yiaddr: '0.0.0.0', siaddr: server, file: 'ipxe-amd64.efi' },
      options: [
        `54 ${server}`,
        '60 "PXEClient"',
        '43 06 01 08 0a 04 00 50 58 45 ff',
        `66 "${server}"`,
        '67 "ipxe-amd64.efi"',
        nobody,
      ],
    })
  })

  test('iPXE is sent to its script, and never to a loader again', async () => {
    expect(await proxied('ipxe-proxy43-0-67-type1')).toEqual({
      ...{ type: 'OFFER', yiaddr: '0.0.0.0', siaddr: server, file: script },
      options: [
        `54 ${server}`,
        '60 "PXEClient"',
        '43 06 01 08 ff',
        `66 "${server}"`,
        `67 "${script}"`,
        nobody,
      ],
    })
  })

  test('UEFI HTTP Boot gets its own class back, a URL, and nothing of PXE', async () => {
    expect(await proxied('ovmf-http-8-67-type1')).toEqual({
      type: 'OFFER',
      yiaddr: '0.0.0.0',
      siaddr: server,
      file: `http://${server}:8080/boot/agent-amd64.efi`,
      options: [`54 ${server}`, '60 "HTTPClient"', `67 "http://${server}:8080/boot/agent-amd64.efi"`, nobody],
    })
  })

  test('an old BIOS ROM, which asks for no option 67, finds the file in the header', async () => {
    const asked = discover({ 60: 'PXEClient:Arch:00000:UNDI:002001', 93: [0, 0], 55: [1, 3, 43, 60] })
    expect(shown(await site().ask(asked, { mode: 'proxy' }), asked)).toEqual({
      ...{ type: 'OFFER', yiaddr: '0.0.0.0', siaddr: server, file: 'undionly.kpxe' },
      options: [`54 ${server}`, '60 "PXEClient"', '43 06 01 08 ff'],
    })
  })

  test('at port 4011 EDK2 gets an ACK with the same', async () => {
    expect(await proxied('ovmf-proxy-binl-5-4011-type3', { port: 'pxe', cameBy: 'unicast' })).toMatchObject({
      ...{ type: 'ACK', yiaddr: '0.0.0.0', siaddr: server, file: 'ipxe-amd64.efi' },
    })
  })

  test('firmware that takes its file at port 4011 only gets an offer without option 43', async () => {
    const asked = vector('ovmf-proxy-binl-0-67-type1')
    const here = site({ binl: ['52:54:00'] })
    const offer = shown(await here.ask(asked, { mode: 'proxy' }), asked)
    expect(offer['options']).not.toContainEqual(expect.stringMatching(/^43 /))
    const atPort = vector('ovmf-proxy-binl-5-4011-type3')
    const ack = shown(await here.ask(atPort, { mode: 'proxy', port: 'pxe' }), atPort)
    expect(ack['options']).toContain('43 06 01 08 0a 04 00 50 58 45 ff')
  })

  test('a chosen item of a boot menu is confirmed as it was asked', async () => {
    const values = { 60: 'PXEClient:Arch:00000', 93: [0, 0], 43: [71, 4, 0x80, 0, 0, 0, 255] }
    const asked = request(3, values, { ciaddr: '10.9.0.60' })
    const { options: answered } = shown(await site().ask(asked, { mode: 'proxy', port: 'pxe' }), asked)
    expect(answered).toContain('43 06 01 08 47 04 80 00 00 00 ff')
  })

  test('a Pi 4 finds its words in a menu of one item, and the server in three places', async () => {
    const values = {
      60: 'PXEClient:Arch:00000:UNDI:002001',
      93: [0, 0],
      97: [0, ...Buffer.from('RPi4'), ...Array(12).fill(1)],
    }
    const asked = discover(values, { chaddr: Uint8Array.of(0xdc, 0xa6, 0x32, 1, 2, 3) })
    const decision = await site().ask(asked, { mode: 'proxy' })
    expect(shown(decision, asked)).toMatchObject({ type: 'OFFER', siaddr: server, file: '' })
    const vendor = decision.reply!.options.get(options.vendorSpecific)!
    expect(Buffer.from(vendor).toString('latin1')).toBe(
      '\x06\x01\x03\x0a\x04\0PXE\x09\x14\0\0\x11Raspberry Pi Boot\xff',
    )
    expect(latin1Text(decision.reply!.options.get(66)!)).toBe(server)
    expect([...decision.reply!.options.get(150)!]).toEqual([10, 9, 0, 1])
  })

  test('a Pi 3 wants three blanks behind them, and a hop in the header', async () => {
    const values = { 60: 'PXEClient:Arch:00000:UNDI:002001', 93: [0, 0], 97: [0, ...Array(16).fill(0x44)] }
    const asked = discover(values, { chaddr: Uint8Array.of(0xb8, 0x27, 0xeb, 1, 2, 3) })
    const { reply } = await site().ask(asked, { mode: 'proxy' })
    expect(latin1Text(reply!.options.get(43)!)).toContain('Raspberry Pi Boot   \xff')
    expect(reply!.hops).toBe(1)
  })

  test.each([
    [
      'a plain DHCP client',
      discover({ 60: 'udhcp 1.37.0' }),
      'it does not listen to a ProxyDHCP server: left to the DHCP server',
    ],
    [
      'u-root',
      discover({ 60: 'PXE UROOT' }),
      'it does not listen to a ProxyDHCP server: left to the DHCP server',
    ],
    [
      'a REQUEST to the DHCP server',
      vector('ovmf-proxy43-3-67-type3'),
      'REQUEST on port 67 is for the server that gives addresses',
    ],
    [
      '32-bit UEFI',
      discover({ 60: 'PXEClient', 93: [0, 6] }),
      'there is nothing to boot for PXE firmware (x86 UEFI, 32 bits) here',
    ],
    [
      'plain BOOTP',
      request(undefined),
      'it is plain BOOTP without options (old versions of GRUB ask so): only DHCP is answered',
    ],
    [
      "another server's reply",
      { ...discover(), op: 'reply' as const },
      'it is a reply: another server sent it',
    ],
  ])('%s is not answered, and the reason is said', async (_, asked, reason) => {
    expect(shown(await site().ask(asked, { mode: 'proxy' }), asked)).toEqual({ silent: reason })
  })

  test('where TFTP is not at port 69, firmware that knows no other is not sent there', async () => {
    const asked = vector('ovmf-full-0-67-type1')
    const { because } = await site({ tftpPort: 6969 }).ask(asked, { mode: 'proxy' })
    expect(because.at(-1)).toContain('asks for TFTP at port 69 only, and this server has port 6969')
    const ipxe = vector('ipxe-proxy43-0-67-type1')
    expect((await site({ tftpPort: 6969 }).ask(ipxe, { mode: 'proxy' })).reply?.file).toBe(script)
  })

  test('no proxy answer ever offers an address, whatever is asked', async () => {
    for (const name of vectorNames)
      for (const port of ['dhcp', 'pxe'] as const) {
        const { reply } = await site().ask(vector(name.replace('.bin', '')), { mode: 'proxy', port })
        if (reply === undefined) continue
        expect(reply.yiaddr).toBe('0.0.0.0')
        for (const code of [1, 3, 51]) expect(reply.options.has(code)).toBe(false)
      }
  })
})

describe("a server's answer", () => {
  const served = async (name: string, given: Parameters<typeof site>[0] = {}) => {
    const asked = vector(name)
    return shown(await site(given).ask(asked), asked)
  }

  test('EDK2 gets address, network and boot file, and no word of PXE that it would wait for', async () => {
    expect(await served('ovmf-full-0-67-type1')).toEqual({
      ...{ type: 'OFFER', yiaddr: '10.9.0.50', siaddr: server, file: 'ipxe-amd64.efi' },
      options: [
        ...[`54 ${server}`, ...times, ...network, '28 10.9.0.255'],
        ...[`66 "${server}"`, '67 "ipxe-amd64.efi"', nobody],
      ],
    })
  })

  test('iPXE is told that no proxy will speak, so that it does not wait for one', async () => {
    expect(await served('ipxe-full-tftp-0-67-type1')).toEqual({
      ...{ type: 'OFFER', yiaddr: '10.9.0.50', siaddr: server, file: script },
      options: [
        ...[`54 ${server}`, ...times, ...network],
        ...['175 b0 01 01', '61 01 52 54 00 12 34 56', `66 "${server}"`, `67 "${script}"`, nobody],
      ],
    })
  })

  test('iPXE without HTTP gets the same script by TFTP', async () => {
    const asked = discover({ 60: 'PXEClient:Arch:00000', 93: [0, 0], 77: 'iPXE', 175: [0x15, 1, 1] })
    expect(shown(await site().ask(asked), asked)['file']).toBe('autoexec.ipxe')
  })

  test('UEFI HTTP Boot gets class, URL and name servers with its address', async () => {
    expect(await served('ovmf-http-8-67-type1')).toEqual({
      ...{ type: 'OFFER', yiaddr: '10.9.0.50', siaddr: server },
      file: `http://${server}:8080/boot/agent-amd64.efi`,
      options: [
        ...[`54 ${server}`, ...times, ...network, '28 10.9.0.255', '60 "HTTPClient"'],
        ...[`67 "http://${server}:8080/boot/agent-amd64.efi"`, nobody],
      ],
    })
  })

  test('U-Boot gets the script that it looks for, and an EFI binary in its second pass', async () => {
    expect(await served('uboot-arm64-0-67-type1')).toEqual({
      ...{ type: 'OFFER', yiaddr: '10.9.0.50', siaddr: server, file: 'boot.scr.uimg' },
      options: [`54 ${server}`, ...times, ...network],
    })
    expect(await served('uboot-arm64-5-67-type1')).toMatchObject({ file: 'agent-arm64.efi' })
  })

  test('a plain DHCP client and u-root get an address, and nothing to boot', async () => {
    for (const asked of [
      discover({ 60: 'udhcp 1.37.0', 55: [1, 3, 6, 66, 67] }),
      discover({ 60: 'PXE UROOT', 55: [1, 66, 67] }),
    ])
      expect(shown(await site().ask(asked), asked)).toEqual({
        ...{ type: 'OFFER', yiaddr: '10.9.0.50', siaddr: '0.0.0.0', file: '' },
        options: [`54 ${server}`, ...times, ...network],
      })
  })

  test('domain, time servers and host name go to who asks for them', async () => {
    const pools = {
      '10.9.0.0/24': {
        range: '10.9.0.50-10.9.0.99',
        dns: [],
        ntp: ['10.9.0.7'],
        domain: 'rack.example',
        leaseSeconds: 600,
      },
    }
    const here = site({
      pools,
      reservations: { '52:54:00:01:02:03': { address: '10.9.0.20', hostName: 'rack-7' } },
    })
    const asked = discover({ 55: [1, 12, 15, 42] })
    expect(shown(await here.ask(asked), asked)).toMatchObject({
      yiaddr: '10.9.0.20',
      options: [
        `54 ${server}`,
        ...wholeLease,
        '1 255.255.255.0',
        '15 "rack.example"',
        '42 10.9.0.7',
        '12 "rack-7"',
      ],
    })
  })

  test("a known machine's lease carries its name, and an offer to anybody asks no database", async () => {
    const asked: string[] = []
    const machine = async (mac: string) => {
      asked.push(mac)
      return { name: 'rack-9' }
    }
    const here = site({ machine })
    await here.ask(discover({ 55: [12] }))
    expect(asked).toEqual([])
    const wanted = request(3, { 54: server, 50: '10.9.0.50', 55: [12] })
    expect(shown(await here.ask(wanted), wanted)['options']).toContain('12 "rack-9"')
  })

  test('`advertise` names the host of URLs; an address there is also the next server', async () => {
    const asked = vector('ovmf-http-8-67-type1')
    expect((await site({ advertise: 'boot.example' }).ask(asked)).reply).toMatchObject({
      file: 'http://boot.example:8080/boot/agent-amd64.efi',
      siaddr: server,
    })
    const rom = vector('ovmf-full-0-67-type1')
    expect((await site({ advertise: '10.9.0.9' }).ask(rom)).reply?.siaddr).toBe('10.9.0.9')
  })

  test('firmware that asks by DHCP for IPv4 is not sent to an IPv6 address, whatever is advertised', async () => {
    const here = site({ advertise: '2001:db8::1' })
    expect((await here.ask(vector('ovmf-http-8-67-type1'))).reply).toMatchObject({
      file: `http://${server}:8080/boot/agent-amd64.efi`,
      siaddr: server,
    })
    expect((await here.ask(vector('ipxe-proxy43-0-67-type1'))).reply).toMatchObject({
      file: script,
      siaddr: server,
    })
  })

  test('what a relay added comes back, at the end', async () => {
    const asked = discover(
      { 82: [1, 4, 1, 2, 3, 4], 60: 'PXEClient', 93: [0, 7], 97: [0, ...Array(16).fill(1)] },
      { giaddr: '10.9.0.254' },
    )
    const { reply } = await site().ask(asked)
    expect([...reply!.options.keys()].at(-1)).toBe(82)
    expect([...reply!.options.get(82)!]).toEqual([1, 4, 1, 2, 3, 4])
  })
})

describe('how long a reply may be, and where it goes', () => {
  test.each([
    ['nothing said', undefined, 548],
    ['1472 said', [0x05, 0xc0], 1444],
    ["EDK2's swapped 255", [0xff, 0x00], 1472],
    ['less than allowed', [0, 100], 548],
    ['a broken value', [1], 548],
  ])('%s', (_, value, expected) => {
    expect(replyLimit(discover(value === undefined ? {} : { 57: value }))).toBe(expected)
  })

  test('every reply to every captured packet fits its client and leaves as 300 bytes or more', async () => {
    for (const name of vectorNames) {
      const asked = vector(name.replace('.bin', ''))
      for (const mode of ['proxy', 'server'] as const) {
        const { reply } = await site().ask(asked, { mode })
        if (reply === undefined) continue
        const bytes = encodePacket(reply, replyLimit(asked))
        expect(bytes.length).toBeGreaterThanOrEqual(300)
        expect(bytes.length).toBeLessThanOrEqual(replyLimit(asked))
        expect(reply).toMatchObject({ xid: asked.xid, chaddr: asked.chaddr, flags: asked.flags })
      }
    }
  })

  test.each([
    [
      'a client without an address is reached by broadcast, whatever its flag',
      {},
      { address: '255.255.255.255', port: 68 },
    ],
    [
      'one that renews is reached at its address',
      { ciaddr: '10.9.0.60' },
      { address: '10.9.0.60', port: 68 },
    ],
    [
      'a relay is reached at its server port',
      { giaddr: '10.8.0.1', ciaddr: '10.9.0.60' },
      { address: '10.8.0.1', port: 67 },
    ],
  ])('%s', async (_, head, expected) => {
    const asked = discover({}, head)
    const { reply } = await site({
      pools: {
        ...{ '10.8.0.0/24': { range: '10.8.0.5-10.8.0.9', dns: [], ntp: [], leaseSeconds: 600 } },
        '10.9.0.0/24': { range: '10.9.0.50-10.9.0.99', dns: [], ntp: [], leaseSeconds: 600 },
      },
    }).ask(asked)
    expect(destinationOf(asked, reply!, dhcpPorts)).toEqual(expected)
  })

  test('a refusal is broadcast, because the client has no address that it may use', async () => {
    const asked = request(3, { 50: '10.1.1.1' })
    const { reply } = await site().ask(asked)
    expect(destinationOf(asked, reply!, dhcpPorts)).toEqual({ address: '255.255.255.255', port: 68 })
    const relayed = request(3, { 50: '10.1.1.1' }, { giaddr: '10.9.0.254' })
    const through = (await site().ask(relayed)).reply!
    expect(through.flags & 0x8000).toBe(0x8000)
    expect(destinationOf(relayed, through, dhcpPorts)).toEqual({ address: '10.9.0.254', port: 67 })
  })

  test('mutated packets of real clients get a reply that can be sent, silence, or are malformed', async () => {
    const change = fc.tuple(fc.nat(420), fc.nat(255))
    const mutated = fc.tuple(fc.constantFrom(...vectorNames), fc.array(change, { maxLength: 8 }))
    await fc.assert(
      fc.asyncProperty(
        mutated,
        fc.constantFrom('proxy' as const, 'server' as const),
        async ([name, changes], mode) => {
          const bytes = vectorBytes(name)
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
          try {
            const asked = parsePacket(bytes)
            const { because, reply } = await site().ask(asked, { mode })
            expect(because.length).toBeGreaterThan(0)
            if (reply === undefined) return
            parsePacket(encodePacket(reply, replyLimit(asked)))
            // Attackers choose giaddr and ciaddr.
            expect(destinationOf(asked, reply, dhcpPorts).address).toMatch(
              /^(255\.255\.255\.255|10\.9\.0\.\d+)$/,
            )
          } catch (error) {
            expect(errorCodeOf(error)).toBe('packet-invalid')
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})
