import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { identifyClient } from '../../src/dhcp/client.ts'
import { discover, vector, vectorNames } from './world.ts'

const pxeClass = (arch: string) => `PXEClient:Arch:${arch}:UNDI:003000`
const pi = (head: string, ...rest: number[]) => [0, ...Buffer.from(head), ...rest]

describe('which firmware a packet comes from', () => {
  /** Every captured packet, by its run; the two stages of a run are told apart by class. */
  const expected: [run: RegExp, kind: string, platform: string][] = [
    [/^ipxe-/, 'ipxe', 'bios'],
    [/^tpm-ipxe/, 'ipxe', 'uefi-x64'],
    [/^ovmf-http-(8|10)-/, 'http', 'uefi-x64'],
    [/^(ovmf|grub|tpm-grub)/, 'pxe', 'uefi-x64'],
    [/^uboot-\w+-[02]-/, 'u-boot', 'u-boot-arm64'],
    [/^uboot-/, 'pxe', 'uefi-arm64'],
  ]
  test.each(vectorNames)('%s is known for what it is', (name) => {
    const [, kind, platform] = expected.find(([run]) => run.test(name))!
    const client = identifyClient(vector(name.replace('.bin', '')))
    expect(client).toMatchObject({ kind, platform })
    expect(client.mac).toMatch(/^52:5[24]:/)
    expect(client.because.length).toBeGreaterThan(0)
  })

  test('iPXE says its version, and whether it was built with HTTP', () => {
    expect(identifyClient(vector('ipxe-full-tftp-0-67-type1')).ipxe).toEqual({ http: true, version: '1.0.0' })
    const without = discover({ 77: 'iPXE', 175: [0xeb, 3, 1, 21, 1, 0x15, 1, 1] })
    expect(identifyClient(without)).toMatchObject({ kind: 'ipxe', ipxe: { http: false, version: '1.21.1' } })
    // A build that names no features at all is told to use what nearly all have.
    expect(identifyClient(discover({ 77: 'iPXE' })).ipxe).toEqual({ http: true, version: undefined })
    expect(identifyClient(discover({ 77: [4, ...Buffer.from('iPXE')] })).kind).toBe('ipxe')
  })

  test.each([
    [0, 'pxe', 'bios'],
    [6, 'pxe', 'uefi-ia32'],
    [7, 'pxe', 'uefi-x64'],
    [9, 'pxe', 'uefi-x64'],
    [10, 'pxe', 'uefi-arm32'],
    [11, 'pxe', 'uefi-arm64'],
    [27, 'pxe', 'uefi-riscv64'],
    [39, 'pxe', 'uefi-loong64'],
    [999, 'pxe', 'unknown'],
  ])('a PXEClient of architecture %i is %s on %s', (type, kind, platform) => {
    const packet = discover({ 60: pxeClass(String(type).padStart(5, '0')), 93: [type >> 8, type & 255] })
    expect(identifyClient(packet)).toMatchObject({ kind, platform })
  })

  test.each([
    [15, 'uefi-ia32'],
    [16, 'uefi-x64'],
    [17, 'uefi-x64'],
    [18, 'uefi-arm32'],
    [19, 'uefi-arm64'],
    [28, 'uefi-riscv64'],
    [40, 'uefi-loong64'],
  ])('an HTTPClient of architecture %i is %s', (type, platform) => {
    const packet = discover({ 60: `HTTPClient:Arch:${String(type).padStart(5, '0')}`, 93: [0, type] })
    expect(identifyClient(packet)).toMatchObject({ kind: 'http', platform })
  })

  test("U-Boot's UEFI pass is told from EDK2 by option 94, where it says that it has no UNDI", () => {
    expect(identifyClient(vector('uboot-arm64-5-67-type1')).uBoot).toBe(true)
    expect(identifyClient(vector('ovmf-full-0-67-type1')).uBoot).toBeUndefined()
    const arm64 = { 60: pxeClass('00011'), 93: [0, 11] }
    expect(identifyClient(discover({ ...arm64, 94: [1, 3, 0] })).uBoot).toBeUndefined()
    expect(identifyClient(discover({ ...arm64, 94: [1, 0] })).uBoot).toBeUndefined()
  })

  test('several architectures in option 93: the first that is known counts', () => {
    expect(identifyClient(discover({ 60: 'PXEClient', 93: [0, 200, 0, 7] })).platform).toBe('uefi-x64')
  })

  test('without a sound option 93 the vendor class itself tells the architecture', () => {
    expect(identifyClient(discover({ 60: pxeClass('00007'), 93: [7] })).platform).toBe('uefi-x64')
    expect(identifyClient(discover({ 60: pxeClass('00011') })).platform).toBe('uefi-arm64')
    expect(identifyClient(discover({ 60: 'PXEClient\0' })).kind).toBe('pxe')
  })

  test.each([
    [
      'the ROM of a Pi 3',
      { 60: pxeClass('00000'), 93: [0, 0], 97: [0, ...Array(16).fill(0x44)] },
      [0xb8, 0x27, 0xeb],
      3,
    ],
    [
      'the EEPROM of a Pi 4',
      { 60: pxeClass('00000'), 93: [0, 0], 97: pi('RPi4', ...Array(12).fill(1)) },
      [2, 0, 0],
      4,
    ],
    [
      'the EEPROM of a Pi 5',
      { 60: pxeClass('00000'), 93: [0, 0], 97: pi('RPi5', ...Array(12).fill(1)) },
      [2, 0, 0],
      5,
    ],
    ['a Pi known by its address alone', { 60: pxeClass('00000'), 93: [0, 0] }, [0xdc, 0xa6, 0x32], undefined],
    ['rpiboot by architecture 41', { 60: pxeClass('00041'), 93: [0, 41] }, [2, 0, 0], undefined],
  ])('%s is a Raspberry Pi, although it says PXEClient like a PC', (_, values, oui, model) => {
    const client = identifyClient(discover(values as never, { chaddr: Uint8Array.from([...oui, 1, 2, 3]) }))
    expect(client).toMatchObject({ kind: 'raspberry-pi', platform: 'raspberry-pi' })
    expect(client.model).toBe(model)
  })

  test('a Raspberry Pi with UEFI firmware, U-Boot or an operating system is what that is', () => {
    const chaddr = Uint8Array.of(0xdc, 0xa6, 0x32, 1, 2, 3)
    expect(identifyClient(discover({ 60: pxeClass('00011'), 93: [0, 11] }, { chaddr })).kind).toBe('pxe')
    expect(identifyClient(discover({ 60: 'U-Boot.armv8', 93: [0, 22] }, { chaddr })).kind).toBe('u-boot')
    expect(identifyClient(discover({ 60: 'dhcpcd-9.4.1:Linux' }, { chaddr })).kind).toBe('other')
  })

  test('u-root and plain DHCP clients are not firmware that we know', () => {
    expect(identifyClient(discover({ 60: 'PXE UROOT', 55: [1, 66, 67] })).kind).toBe('u-root')
    expect(identifyClient(discover({ 60: 'udhcp 1.37.0' }))).toMatchObject({
      kind: 'other',
      what: 'a DHCP client ("udhcp 1.37.0")',
    })
    expect(identifyClient(discover()).kind).toBe('other')
  })

  test('whatever a packet claims, a client comes out, in printable words', () => {
    const values = fc.dictionary(
      fc.constantFrom('43', '60', '77', '93', '97', '175'),
      fc.array(fc.nat(255), { maxLength: 40 }),
    )
    fc.assert(
      fc.property(values, fc.uint8Array({ maxLength: 16 }), (options, chaddr) => {
        const { because, what } = identifyClient(discover(options as never, { chaddr }))
        for (const text of [what, ...because]) expect(text).toMatch(/^[ -~]+$/)
      }),
      { numRuns: 2000 },
    )
  })
})
