/** What loaders look for, in their own order, and which of it is answered. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BootName, isProbe, parseBootName } from '../../src/boot/names.ts'

const mac = '52:54:00:12:34:56'
const uuid = '4c4c4544-0042-3510-8054-b4c04f4d3132'
const script = (language: 'grub' | 'pxelinux', rest: object) =>
  ({ kind: 'script', language, arch: undefined, ...rest }) as BootName

describe('pxelinux.cfg', () => {
  test('a UUID is answered for a machine that has a record, a MAC address always, an IP address never', () => {
    const asked = [uuid, '01-52-54-00-12-34-56', 'C0A80107', 'C0A8010', 'C', 'default'].map((name) =>
      parseBootName(`pxelinux.cfg/${name}`),
    )
    expect(asked).toEqual([
      script('pxelinux', { claimed: { uuid }, search: true }),
      script('pxelinux', { claimed: { mac } }),
      undefined,
      undefined,
      undefined,
      script('pxelinux', { claimed: {} }),
    ])
  })
  test('what U-Boot asks for last says its architecture', () => {
    const archOf = (name: string) =>
      (parseBootName(`pxelinux.cfg/${name}`) as { arch?: string } | undefined)?.arch
    expect(archOf('default-arm-qemu-qemu-arm')).toBe('arm64')
    expect(archOf('default-arm')).toBe('arm64')
    expect(archOf('default-x86')).toBe('amd64')
    expect(parseBootName('pxelinux.cfg/default-riscv-qemu')).toBeUndefined()
  })
  test('a folder of an architecture says it too', () => {
    const asked = parseBootName('/arm64/pxelinux.cfg/01-52-54-00-12-34-56')
    expect(asked).toEqual(script('pxelinux', { claimed: { mac }, arch: 'arm64' }))
  })
  test('a UUID that whole product lines share is nobody’s', () => {
    expect(parseBootName('pxelinux.cfg/03000200-0400-0500-0006-000700080009')).toBeUndefined()
  })
})

describe('grub.cfg', () => {
  test.each(['', '/', 'grub/', 'boot/grub/', 'grub2/', '/boot/'])('is found below %j', (folder) => {
    expect(parseBootName(`${folder}grub.cfg`)).toEqual({ kind: 'first', language: 'grub' })
    expect(parseBootName(`${folder}grub.cfg-01-52-54-00-12-34-56`)).toEqual(
      script('grub', { claimed: { mac } }),
    )
    expect(parseBootName(`${folder}grub.cfg-${uuid}`)).toEqual(
      script('grub', { claimed: { uuid }, search: true }),
    )
    expect(parseBootName(`${folder}grub.cfg-C0A80107`)).toBeUndefined()
  })
  test('GRUB writes its MAC address with colons, and names what it was built for', () => {
    expect(parseBootName(`grub/x86_64/grub.cfg-01-${mac}`)).toEqual(
      script('grub', { claimed: { mac }, arch: 'amd64' }),
    )
    expect(parseBootName('grub/arm64/agent.cfg')).toEqual(script('grub', { claimed: {}, arch: 'arm64' }))
  })
  test('kernel and initramfs lie below the same folder', () => {
    expect(parseBootName('/grub/agent/arm64/kernel')).toEqual({
      kind: 'agent',
      arch: 'arm64',
      file: 'kernel',
    })
    expect(parseBootName('grub/files/vmlinuz')).toEqual({ kind: 'operator', file: 'vmlinuz' })
  })
})

describe('U-Boot', () => {
  test('asks for the same first script by both names', () => {
    for (const name of ['boot.scr.uimg', '/boot.scr', 'boot.scr'])
      expect(parseBootName(name)).toEqual({ kind: 'first', language: 'u-boot' })
  })
  test.each([
    ['arm', 'armv8', 'arm64'],
    ['x86', 'x86', 'amd64'],
  ])('of %s with %s is given the agent for %s', (arch, cpu, ours) => {
    expect(parseBootName(`u-boot/${arch}/${cpu}/52-54-00-12-34-56.scr.uimg`)).toEqual({
      kind: 'script',
      language: 'u-boot',
      claimed: { mac },
      arch: ours,
    })
  })
  test('of a processor without an agent is told so', () => {
    expect(parseBootName('u-boot/arm/armv7/52-54-00-12-34-56.scr.uimg')).toEqual({
      kind: 'unsupported',
      language: 'u-boot',
      processor: 'arm/armv7',
    })
  })
  test('that was built without its own names is answered all the same', () => {
    for (const name of ['u-boot///52-54-00-12-34-56.scr.uimg', 'u-boot/52-54-00-12-34-56.scr.uimg'])
      expect(parseBootName(name)).toMatchObject({ kind: 'script', claimed: { mac }, arch: undefined })
  })
})

describe('Raspberry Pi', () => {
  test.each([
    ['9ffefdef/start4.elf', { serial: '9ffefdef' }, 'start4.elf'],
    ['dc-a6-32-01-36-c2/config.txt', { mac: 'dc:a6:32:01:36:c2' }, 'config.txt'],
    ['9ffefdef/overlays/vc4-kms-v3d.dtbo', { serial: '9ffefdef' }, 'overlays/vc4-kms-v3d.dtbo'],
    ['raspberry-pi/config.txt', {}, 'config.txt'],
    ['bootcode.bin', {}, 'bootcode.bin'],
  ])('%s', (name, claimed, file) => {
    expect(parseBootName(name)).toEqual({ kind: 'raspberry-pi', claimed, file })
  })
  test('that dropped its prefix gets nothing, or a machine that is to go on would boot', () => {
    for (const name of [
      'config.txt',
      'start4.elf',
      'start.elf',
      'cmdline.txt',
      'kernel8.img',
      'muster-kernel',
    ])
      expect(parseBootName(name), name).toBeUndefined()
  })
})

test('names that loaders only try are no news; a name in somebody’s DHCP server is', () => {
  const probes = [
    'pxelinux.cfg/C0A8',
    'grub.cfg-C0A80107',
    '/grub/x86_64-efi/command.lst',
    'boot/revocations_sku.efi',
    'revocations_sbat.efi',
    'shim_certificate_0.efi',
    '9ffefdef/pieeprom.sig',
    'bootsig.bin',
    '9ffefdef/recover4.elf',
    'a/dt-blob.bin',
  ]
  expect(probes.filter((name) => !isProbe(name))).toEqual([])
  const news = ['pxelinux.0', 'ipxe/undionly.kpxe', 'grubx64.efi', '9ffefdef/start4.elf', 'boot/kernel']
  expect(news.filter(isProbe)).toEqual([])
})

test('whatever is asked for, the answer is a name or nothing, and leads out of no folder', () => {
  const pieces = fc.constantFrom(
    '..',
    '.',
    '',
    'files',
    'grub',
    'agent',
    'amd64',
    'kernel',
    '9ffefdef',
    'pxelinux.cfg',
    'x',
    '\0',
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 600 }),
    fc.array(pieces, { maxLength: 8 }).map((parts) => parts.join('/')),
  )
  fc.assert(
    fc.property(text, (name) => {
      const parsed = parseBootName(name)
      // The operator's names are checked when they are opened, after opening (operator-files.ts).
      if (parsed !== undefined && parsed.kind !== 'operator' && 'file' in parsed)
        expect(parsed.file.startsWith('/') || parsed.file.startsWith('.')).toBe(false)
    }),
  )
})
