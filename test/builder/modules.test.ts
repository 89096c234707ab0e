import { describe, expect, test } from 'vitest'
import { closeModules, type ModuleSource, moduleName, moduleTables } from '../../src/builder/modules.ts'

/** The least ELF file with a `.modinfo`: header, the section, its name table, three section headers. */
function module(fields: string[]): Buffer {
  const info = Buffer.from(fields.map((field) => `${field}\0`).join(''))
  const names = Buffer.from('\0.modinfo\0.shstrtab\0')
  const header = Buffer.alloc(64)
  header.write('7f454c46020101', 'hex')
  header.writeBigUInt64LE(BigInt(64 + info.length + names.length), 40)
  header.writeUInt16LE(64, 58)
  header.writeUInt16LE(3, 60)
  header.writeUInt16LE(2, 62)
  const section = (name: number, offset: number, bytes: number) => {
    const entry = Buffer.alloc(64)
    entry.writeUInt32LE(name)
    entry.writeBigUInt64LE(BigInt(offset), 24)
    entry.writeBigUInt64LE(BigInt(bytes), 32)
    return entry
  }
  const sections = [
    section(0, 0, 0),
    section(1, 64, info.length),
    section(10, 64 + info.length, names.length),
  ]
  return Buffer.concat([header, info, names, ...sections])
}

const kernel: Record<string, string[]> = {
  'kernel/drivers/net/virtio_net.ko.xz': [
    'depends=net-failover',
    'alias=virtio:d00000001v*',
    'name=virtio_net',
  ],
  'kernel/drivers/net/net_failover.ko.xz': ['depends=failover', 'license=GPL'],
  'kernel/net/core/failover.ko.xz': [],
  'kernel/drivers/net/realtek/r8169.ko.xz': [
    'depends=',
    'softdep=pre: realtek crc-builtin',
    'firmware=rtl_nic/a.fw',
    'alias=pci:v*',
    'alias=pci:w*',
  ],
  'kernel/drivers/net/phy/realtek.ko.xz': ['softdep=post: never'],
  'kernel/drivers/net/broken.ko.xz': ['depends=nowhere'],
}
const source: ModuleSource = {
  paths: new Map(Object.keys(kernel).map((path) => [moduleName(path), path])),
  builtin: new Set(['crc_builtin', 'af_packet']),
  load: async (path) => module(kernel[path]!),
}

describe('kernel modules', () => {
  test('come with all that they depend on, and with what they want loaded before', async () => {
    expect([...(await closeModules(['virtio-net'], source)).keys()]).toEqual([
      'failover',
      'net_failover',
      'virtio_net',
    ])
    const found = await closeModules(['r8169'], source)
    expect([...found.keys()]).toEqual(['r8169', 'realtek'])
    expect(found.get('r8169')).toMatchObject({
      path: 'kernel/drivers/net/realtek/r8169.ko',
      firmware: ['rtl_nic/a.fw'],
    })
  })

  test('that are built in, or that this architecture does not have, are left out', async () => {
    expect((await closeModules(['af_packet', 'genet'], source)).size).toBe(0)
  })

  test('whose need nobody meets are an error that names it', async () => {
    await expect(closeModules(['broken'], source)).rejects.toMatchObject({
      code: 'build-failed',
      message: expect.stringContaining("'nowhere'"),
    })
  })

  test('are listed for modprobe, the innermost last, and by every device that they serve', async () => {
    const tables = moduleTables(await closeModules(['virtio_net', 'r8169'], source))
    expect(tables.dep.split('\n')).toContain(
      'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko',
    )
    expect(tables.dep.split('\n')).toContain(
      'kernel/drivers/net/realtek/r8169.ko: kernel/drivers/net/phy/realtek.ko',
    )
    expect(tables.alias).toBe('alias pci:v* r8169\nalias pci:w* r8169\nalias virtio:d00000001v* virtio_net\n')
  })
})
