/** Five prepared troubles as captures: `muster dhcp explain` names each, in each mode, and what to change. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type DhcpPacket, encodePacket } from '../../src/dhcp/packet.ts'
import { capture, datagram, ethernet } from '../dhcp/frames.ts'
import { discover, request, vector, vectorBytes } from '../dhcp/world.ts'
import { createWorld } from '../http/admin-world.ts'
import { muster } from './command-line.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-explain-'))
})
afterEach(() => rm(folder, { recursive: true }))

const pools = '{"10.9.0.0/24":{"range":"10.9.0.50-10.9.0.99","gateway":"10.9.0.254"}}'
const settings = ['--set', 'dhcp.addresses=10.9.0.1', '--set', `dhcp.pools=${pools}`]

/** Writes them as tcpdump would, and explains the file. */
async function explained(packets: readonly (DhcpPacket | Uint8Array)[], ...argv: string[]) {
  const file = join(folder, 'boot.pcap')
  const frames = packets.map((packet) => {
    const payload = packet instanceof Uint8Array ? packet : encodePacket(packet, 1472)
    const relayed = !(packet instanceof Uint8Array) && packet.giaddr !== '0.0.0.0'
    const to = relayed ? '10.9.0.1' : '255.255.255.255'
    return ethernet(
      datagram(payload, { from: { address: '0.0.0.0', port: 68 }, to: { address: to, port: 67 } }),
    )
  })
  await writeFile(file, capture(frames, { link: 1 }))
  return muster(['dhcp', 'explain', file, '--data', folder, ...settings, ...argv])
}

const answersOf = (out: string) => out.split('\n').filter((line) => /^(Mode|It comes|packet)/.test(line))

describe('muster dhcp explain', () => {
  test('trouble 1: a machine for which there is no loader', async () => {
    const { code, out } = await explained([discover({ 60: 'PXEClient:Arch:00006:UNDI:003000', 93: [0, 6] })])
    expect(code).toBe(0)
    expect(answersOf(out)).toEqual([
      'packet 1: DISCOVER of 52:54:00:01:02:03 from 0.0.0.0:68 to 255.255.255.255:67, xid 00001234',
      'It comes from PXE firmware (x86 UEFI, 32 bits), because of architecture 6 (option 93), vendor class "PXEClient:Arch:00006:UNDI:003000" (option 60).',
      'Mode proxy: no answer: there is nothing to boot for PXE firmware (x86 UEFI, 32 bits) here.',
      'Mode server: OFFER to 255.255.255.255:68, 300 bytes: there is nothing to boot for PXE firmware (x86 UEFI, 32 bits) here; address 10.9.0.50 of 10.9.0.0/24.',
    ])
  })

  test('trouble 2: a relay agent of a network that has no pool', async () => {
    const { out } = await explained([discover({}, { giaddr: '10.20.0.1' })])
    expect(answersOf(out).at(-1)).toBe('Mode server: no answer: no pool is for the network of 10.20.0.1.')
  })

  test('a relay agent that is not known: the setting that names it', async () => {
    const relayed = discover({ 82: [5, 4, 10, 9, 0, 0] }, { giaddr: '198.51.100.7' })
    const { out } = await explained([relayed])
    expect(answersOf(out).at(-1)).toBe(
      'Mode server: no answer: the relay agent 198.51.100.7 is not known here: name it in dhcp.relays.',
    )
    const named = await explained([relayed], '--set', 'dhcp.relays=198.51.100.0/24')
    expect(answersOf(named.out).at(-1)).toContain('Mode server: OFFER to 198.51.100.7:67')
  })

  test('trouble 3: a machine that takes the offer of another DHCP server', async () => {
    const taken = request(3, { 54: '10.9.0.254', 50: '10.9.0.77', 60: 'PXEClient', 93: [0, 7] })
    const { out } = await explained([taken])
    expect(answersOf(out).slice(2)).toEqual([
      'Mode proxy: no answer: REQUEST on port 67 is for the server that gives addresses.',
      'Mode server: no answer: it took the offer of 10.9.0.254, which is not us.',
    ])
  })

  test('trouble 4: TFTP at a port that firmware does not ask', async () => {
    const { out } = await explained([vector('ovmf-full-0-67-type1')], '--set', 'tftp.port=6969')
    expect(answersOf(out)[2]).toBe(
      'Mode proxy: no answer: PXE firmware (x64 UEFI) asks for TFTP at port 69 only, and this server has port 6969: docs/ports.md.',
    )
  })

  test('trouble 5: firmware that does not listen to a proxy, and firmware that speaks no DHCP', async () => {
    const { out } = await explained([discover({ 60: 'PXE UROOT', 55: [1, 66, 67] }), request(undefined)])
    expect(answersOf(out)).toContain(
      'Mode proxy: no answer: it does not listen to a ProxyDHCP server: left to the DHCP server.',
    )
    expect(answersOf(out).at(-1)).toBe(
      'Mode server: no answer: it is plain BOOTP without options (old versions of GRUB ask so): only DHCP is answered.',
    )
  })

  test('a whole exchange is followed: what was offered is what is leased', async () => {
    const iPxe = { 54: '10.9.0.1', 50: '10.9.0.50', 77: 'iPXE' }
    const { out } = await explained([
      vectorBytes('ipxe-full-tftp-0-67-type1.bin'),
      request(3, iPxe, { chaddr: vector('ipxe-full-tftp-0-67-type1').chaddr }),
      { ...discover(), op: 'reply' },
    ])
    expect(out).toContain(
      'first lease of 10.9.0.50 for 300 s; when it renews, or where its machine said hello, for 7200 s',
    )
    expect(out).toContain(' 67 boot file                  "http://10.9.0.1:8080/boot/autoexec.ipxe"')
    expect(out).toContain('It is a reply of another server: nobody answers it.')
  })

  test('programs get the same as data, from hexadecimal too', async () => {
    const hex = Buffer.from(vectorBytes('uboot-arm64-0-67-type1.bin')).toString('hex')
    const { out } = await muster(['dhcp', 'explain', hex, '--data', folder, '--json', ...settings])
    const { packets, server } = JSON.parse(out)
    expect(server).toBe('10.9.0.1')
    expect(packets[0]).toMatchObject({
      client: { kind: 'u-boot', platform: 'u-boot-arm64' },
      answers: [
        { mode: 'proxy', reply: { message: 'OFFER', header: { file: 'boot.scr.uimg' } } },
        { mode: 'server', reply: { header: { yiaddr: '10.9.0.50' } } },
      ],
    })
  })

  test('hexadecimal is read from a file, and what cannot be read is named with the forms that can', async () => {
    const file = join(folder, 'packet.hex')
    const explain = (name: string) => muster(['dhcp', 'explain', name, '--data', folder, ...settings])
    const digits = Buffer.from(vectorBytes('uboot-arm64-0-67-type1.bin')).toString('hex')
    await writeFile(file, digits.replace(/(.{32})/g, '$1\n'))
    expect((await explain(file)).out).toContain('It comes from U-Boot')
    await writeFile(file, 'nothing of the kind')
    expect((await explain(file)).err).toContain(`${file}: this is text, and no hexadecimal`)
    const missing = await explain('/nope')
    expect(missing).toMatchObject({ code: 1, err: expect.stringMatching(/no file \/nope.*tcpdump -w.*xxd/) })
  })

  test('a malformed packet is said to be one, and the rest is explained', async () => {
    const { code, out } = await explained([new Uint8Array(40), discover()])
    expect(code).toBe(0)
    expect(answersOf(out)[0]).toBe('packet 1: DHCP packet is malformed: 40 bytes, a header has 236')
    expect(answersOf(out)[1]).toContain('packet 2: DISCOVER')
  })

  test('what is no capture at all is refused with the way to make one', async () => {
    const ran = await muster(['dhcp', 'explain', 'no-such-file', '--data', folder])
    expect(ran).toMatchObject({ code: 1, out: '' })
    expect(ran.err).toContain('packet-invalid')
  })

  test('what is a folder is said to be one, and what no file is, is named', async () => {
    const ran = await muster(['dhcp', 'explain', folder, '--data', folder])
    expect([ran.code, ran.err]).toEqual([
      1,
      expect.stringMatching(
        /The capture \/.* cannot be read \(<capture>\): it is a folder.*request-invalid/s,
      ),
    ])
    expect(ran.err).not.toContain('EISDIR')
  })

  test('a capture that ends in the middle of a packet is explained as far as it goes', async () => {
    const file = join(folder, 'cut.pcap')
    const frame = ethernet(
      datagram(encodePacket(discover({ 60: 'PXEClient', 93: [0, 0] }), 1472), {
        from: { address: '0.0.0.0', port: 68 },
        to: { address: '255.255.255.255', port: 67 },
      }),
    )
    await writeFile(file, capture([frame, frame], { link: 1 }).subarray(0, -7))
    const { code, out } = await muster(['dhcp', 'explain', file, '--data', folder, ...settings])
    expect(code).toBe(0)
    expect(answersOf(out)[0]).toContain('packet 1: DISCOVER')
    expect(out).toContain('The file ends in the middle of a packet: 1 DHCP packet was read')
  })

  test('where the mode is off that is the first thing that is said, with what turns it on', async () => {
    const { out } = await explained([discover()])
    expect(out).toMatch(/^A server with this configuration answers nothing of this: dhcp\.mode is off\./)
    const on = await explained([discover()], '--set', 'dhcp.mode=proxy')
    expect(on.out).toMatch(/^A server with this configuration has dhcp\.mode proxy\./)
    expect(on.out).toContain('no server answers, so the configuration was asked')
  })

  test('a server that runs is asked for its mode, its address and its ports', async () => {
    await using world = await createWorld()
    world.status.dhcp = { mode: 'auto', now: 'proxy', addresses: ['10.7.0.1'] }
    world.status.planes = [
      { name: 'firmware', url: 'http://10.7.0.1:8123' },
      { name: 'tftp', url: 'tftp://10.7.0.1:69' },
    ]
    const hex = Buffer.from(vectorBytes('ipxe-full-tftp-0-67-type1.bin')).toString('hex')
    const { out } = await muster(['dhcp', 'explain', hex, '--data', world.data])
    expect(out).toMatch(/^The running server has dhcp\.mode auto, which is proxy now\./)
    expect(out).toContain('"http://10.7.0.1:8123/boot/autoexec.ipxe"')
    expect(out).toContain('address is taken to be 10.7.0.1: the running server answers from it')
    world.status.dhcp = { mode: 'off', addresses: [] }
    const off = await muster(['dhcp', 'explain', hex, '--data', world.data])
    expect(off.out).toMatch(/^The running server answers nothing of this: dhcp\.mode is off\./)
  })
})
