/** A small PE32+ image, as a compiler for UEFI makes them: one section of code, one of data. */
export function smallPe(options: { machine?: number; headersBytes?: number } = {}): Buffer {
  const { machine = 0x8664, headersBytes = 0x600 } = options
  const image = Buffer.alloc(headersBytes + 0x400)
  const pe = 0x78
  const optional = pe + 24
  image.write('MZ', 0, 'latin1')
  image.writeUInt32LE(pe, 60)
  image.write('PE\0\0', pe, 'latin1')
  image.writeUInt16LE(machine, pe + 4)
  image.writeUInt16LE(2, pe + 6)
  image.writeUInt16LE(240, pe + 20)
  image.writeUInt16LE(0x22e, pe + 22)
  image.writeUInt16LE(0x20b, optional)
  image.writeUInt32LE(0x200, optional + 8)
  image.writeUInt32LE(0x1000, optional + 16)
  image.writeUInt32LE(0x1000, optional + 32)
  image.writeUInt32LE(0x200, optional + 36)
  image.writeUInt32LE(0x3000, optional + 56)
  image.writeUInt32LE(headersBytes, optional + 60)
  image.writeUInt16LE(10, optional + 68)
  image.writeUInt32LE(16, optional + 108)
  const section = (index: number, name: string, address: number, offset: number, characteristics: number) => {
    const at = optional + 240 + index * 40
    image.write(name, at, 'latin1')
    image.writeUInt32LE(0x180, at + 8)
    image.writeUInt32LE(address, at + 12)
    image.writeUInt32LE(0x200, at + 16)
    image.writeUInt32LE(offset, at + 20)
    image.writeUInt32LE(characteristics, at + 36)
    image.fill(name.charCodeAt(1), offset, offset + 0x180)
  }
  section(0, '.text', 0x1000, headersBytes, 0x60000020)
  section(1, '.data', 0x2000, headersBytes + 0x200, 0xc0000040)
  return image
}
