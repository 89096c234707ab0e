/**
 * A Raspberry Pi's boot loaders as a TFTP client: the files that a Pi 3, 4 and 5 ask for, in their order, with their options.
 * Sources, all public:
 *
 *     Pi 3   tcpdump in raspberrypi/firmware#1041 (bootcode.bin and bootsig.bin without options, then `tsize 0`; a file that
 *            is only probed is given up with ERROR 0 "Early terminate": raspberrypi/firmware#1605), tftpd's log in #1012
 *     Pi 4   tcpdump in raspberrypi/rpi-eeprom#74 (`tsize 0`, `blksize 1024`), log of transfers in rpi-eeprom#87, pieeprom.sig and
 *            vl805.sig in rpi-eeprom#417
 *     Pi 5   no start.elf (raspberrypi/documentation, "EEPROM boot flow"); blksize 1468 and whole initramfs in rpi-eeprom#720; signed
 *            boot in #857. The order after config.txt is that of start4.elf, whose successor is in the EEPROM: not captured.
 */
import { createSocket, type Socket } from 'node:dgram'

type Asked = {
  name: string
  /** `load`: to its end. `probe`: the size from the first answer, then "Early terminate". `absent`: it goes on without. */
  how: 'load' | 'probe' | 'absent'
}

export type PiModel = 3 | 4 | 5
type Board = {
  /** Options of its RRQs, after the boot ROM. */
  options: Record<string, string>
  /** Asked for by the boot ROM, without options and without prefix. */
  rom: readonly Asked[]
  /** Before config.txt is believed, and after. */
  before: readonly Asked[]
  after: readonly Asked[]
}

const load = (...names: string[]) => names.map((name): Asked => ({ name, how: 'load' }))
const probe = (...names: string[]) => names.map((name): Asked => ({ name, how: 'probe' }))
const absent = (...names: string[]) => names.map((name): Asked => ({ name, how: 'absent' }))

export const boards: Readonly<Record<PiModel, Board>> = {
  3: {
    options: { tsize: '0' },
    rom: [...load('bootcode.bin'), ...absent('bootsig.bin')],
    before: [
      ...probe('start.elf'),
      ...absent('autoboot.txt'),
      ...load('config.txt'),
      ...absent('recovery.elf'),
      ...load('start.elf', 'fixup.dat'),
    ],
    after: [
      ...absent('recovery.elf', 'dt-blob.bin', 'bootcfg.txt'),
      ...load('config.txt', 'bcm2837-rpi-3-b.dtb'),
      ...absent('overlays/overlay_map.dtb'),
    ],
  },
  4: {
    options: { tsize: '0', blksize: '1024' },
    rom: [],
    before: [
      ...probe('start4.elf'),
      ...load('config.txt'),
      ...absent('vl805.sig', 'pieeprom.sig', 'recover4.elf', 'recovery.elf'),
      ...load('start4.elf', 'fixup4.dat'),
    ],
    after: [
      ...absent('recovery.elf', 'dt-blob.bin', 'bootcfg.txt'),
      ...load('config.txt', 'bcm2711-rpi-4-b.dtb'),
      ...absent('overlays/overlay_map.dtb', 'armstub8-gic.bin'),
    ],
  },
  5: {
    options: { tsize: '0', blksize: '1468' },
    rom: [],
    before: [...load('config.txt'), ...absent('pieeprom.sig')],
    after: [
      ...load('config.txt', 'bcm2712-rpi-5-b.dtb'),
      ...absent('overlays/overlay_map.dtb', 'armstub8-2712.bin'),
    ],
  },
}

export type PiBoot = {
  config: string
  commandLine: string
  kernel: Buffer
  initramfs: Buffer
  /** Everything that was loaded: name and bytes. */
  loaded: Map<string, number>
}

/**
 * Boots as that board would. @param prefix the folder of its TFTP_PREFIX, without a slash.
 * @throws Error with what a real one would stop at
 */
export async function bootRaspberryPi(options: {
  server: { host: string; port: number }
  model: PiModel
  prefix: string
}): Promise<PiBoot> {
  const { model, prefix, server } = options
  const board = boards[model]
  const loaded = new Map<string, number>()
  const ask = async (name: string, how: Asked['how'], rrq: Record<string, string>) => {
    const answer = await read(server, name, rrq, how === 'probe')
    const found = answer !== undefined
    // An unexpected file would be believed: an update of the EEPROM, a recovery image.
    if (found !== (how !== 'absent'))
      throw new Error(`Pi ${model}: ${name} was ${found ? 'there, and must not be' : 'not there'}`)
    if (answer !== undefined && how === 'load') loaded.set(name, answer.length)
    return answer ?? Buffer.alloc(0)
  }
  for (const { how, name } of board.rom) await ask(name, how, {})
  const below = (name: string) => `${prefix}/${name}`
  for (const { how, name } of [...board.before, ...board.after]) await ask(below(name), how, board.options)
  const config = (await ask(below('config.txt'), 'load', board.options)).toString()
  const named = (pattern: RegExp) => {
    const name = pattern.exec(config)?.[1]
    if (name === undefined) throw new Error(`Pi ${model}: config.txt says no ${pattern.source}`)
    return below(name)
  }
  const long = config.split('\n').find((line) => line.length > 98)
  if (long !== undefined) throw new Error(`Pi ${model} cuts this line of config.txt off: ${long}`)
  const initramfs = await ask(named(/^initramfs (\S+) followkernel$/m), 'load', board.options)
  const commandLine = (await ask(below('cmdline.txt'), 'load', board.options)).toString()
  const kernelName = named(/^kernel=(\S+)$/m)
  await ask(kernelName, 'probe', board.options)
  const kernel = await ask(kernelName, 'load', board.options)
  return { config, commandLine, kernel, initramfs, loaded }
}

/** Whether there is anything for a board of this prefix: the file by which it decides whether to use the prefix. */
export async function hasPrefix(
  server: { host: string; port: number },
  model: PiModel,
  prefix: string,
): Promise<boolean> {
  const [first] = boards[model].before
  return (await read(server, `${prefix}/${first?.name}`, boards[model].options, true)) !== undefined
}

const opcodes = { rrq: 1, data: 3, ack: 4, error: 5, oack: 6 } as const
/** What a board does without: TFTP_FILE_TIMEOUT is 30 s, and the tests have no such patience. */
const answerTimeoutMs = 5000

/** Bytes of the file; empty for one that was only probed; undefined for ERROR 1. */
async function read(
  server: { host: string; port: number },
  name: string,
  options: Record<string, string>,
  probeOnly: boolean,
): Promise<Buffer | undefined> {
  const socket = createSocket('udp4')
  const packets = packetsOf(socket)
  try {
    const words = [name, 'octet', ...Object.entries(options).flat()]
    socket.send(
      Buffer.concat([u16(opcodes.rrq), Buffer.from(`${words.join('\0')}\0`)]),
      server.port,
      server.host,
    )
    const parts: Buffer[] = []
    let [blockBytes, size] = [512, -1]
    for (let expected = 1; ; ) {
      const { bytes, port } = await packets()
      // Awaited, because a socket that is closed at once sends nothing.
      const send = (...packet: Buffer[]) =>
        new Promise((sent) => socket.send(Buffer.concat(packet), port, server.host, sent))
      const opcode = bytes.readUInt16BE(0)
      if (opcode === opcodes.error) {
        if (bytes.readUInt16BE(2) === 1) return undefined
        throw new Error(`${name}: ERROR ${bytes.readUInt16BE(2)} ${bytes.subarray(4).toString()}`)
      }
      if (probeOnly) {
        await send(u16(opcodes.error), u16(0), Buffer.from('Early terminate\0'))
        return Buffer.alloc(0)
      }
      if (opcode === opcodes.oack) {
        const given = bytes.subarray(2).toString().split('\0')
        const value = (key: string) => Number(given[given.indexOf(key) + 1])
        if (given.includes('blksize')) blockBytes = value('blksize')
        if (given.includes('tsize')) size = value('tsize')
        if (blockBytes > Number(options['blksize'] ?? 512)) throw new Error(`${name}: blksize ${blockBytes}`)
        await send(u16(opcodes.ack), u16(0))
        continue
      }
      if (bytes.readUInt16BE(2) !== (expected & 0xffff)) continue
      parts.push(bytes.subarray(4))
      await send(u16(opcodes.ack), u16(expected & 0xffff))
      // The boot loader's counter does not roll over before 2025-09-23.
      if (++expected > 65_536) throw new Error(`${name} has more blocks than a Pi can count`)
      if (bytes.length - 4 < blockBytes) break
    }
    const content = Buffer.concat(parts)
    if (size >= 0 && size !== content.length)
      throw new Error(`${name}: tsize ${size}, but ${content.length} bytes`)
    return content
  } finally {
    socket.close()
  }
}

function packetsOf(socket: Socket): () => Promise<{ bytes: Buffer; port: number }> {
  const queue: { bytes: Buffer; port: number }[] = []
  let wake = () => {}
  socket.on('message', (bytes, { port }) => {
    queue.push({ bytes, port })
    wake()
  })
  return async () => {
    if (queue.length === 0) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve, reject) => {
        wake = resolve
        timer = setTimeout(() => reject(new Error('the server did not answer')), answerTimeoutMs)
      }).finally(() => clearTimeout(timer))
    }
    return queue.shift() as { bytes: Buffer; port: number }
  }
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
