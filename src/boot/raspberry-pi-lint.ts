/**
 * What a Raspberry Pi's boot loader cannot do, found before it hangs without a word. Sizes follow from its TFTP client: block numbers of
 * 16 bits that did not roll over until the EEPROM of 2025-09-23 (raspberrypi/rpi-eeprom#720, #754, #755), in blocks of 512 bytes (boot ROM of
 * a Pi 3), 1024 (EEPROM of a Pi 4 until 2022-11-25: rpi-eeprom#375, #456) or 1468.
 */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { BootFile, BootFiles } from './files.ts'
import { parseBootSignature } from './formats/boot-signature.ts'

export type PiFinding = { level: 'ok' | 'warning' | 'error'; what: string; sentence: string }

const blocksMax = 65_535
/** Oldest first: until when an EEPROM was like that, and what it can load. */
const eras = [
  { until: '2022-11-25', blockBytes: 1024, cause: 'blocks of 1024 bytes whose numbers do not roll over' },
  { until: '2025-09-23', blockBytes: 1468, cause: 'block numbers that do not roll over' },
] as const
/** TFTP_FILE_TIMEOUT of the EEPROM, by default (raspberrypi/documentation, bootloader configuration). */
const fileTimeoutSeconds = 30
/** What a Pi 3 needs that a Pi 4 does not, and the other way round; a Pi 5 has its firmware in its EEPROM. */
export const firmwareFiles = {
  'Raspberry Pi 3': [
    'bootcode.bin',
    'start.elf',
    'fixup.dat',
    'bcm2837-rpi-3-b.dtb',
    'bcm2837-rpi-3-b-plus.dtb',
  ],
  'Raspberry Pi 4': ['start4.elf', 'fixup4.dat', 'bcm2711-rpi-4-b.dtb'],
  'Raspberry Pi 5': ['bcm2712-rpi-5-b.dtb'],
} as const

export type PiLintOptions = {
  files: Pick<BootFiles, 'agent' | 'raspberryPi'>
  /** Port that TFTP listens on; undefined: it does not. */
  tftpPort: number | undefined
  tftpBlockBytesMax: number
  /** PEM of the key that is in the EEPROMs, to check boot.sig with. */
  publicKey?: string | undefined
}

/** @throws MusterError request-invalid for a key that is none */
export async function lintRaspberryPi(options: PiLintOptions): Promise<PiFinding[]> {
  const { files } = options
  return [
    ...lintTftp(options),
    ...(await lintAgent(files)),
    ...(await lintFirmware(files)),
    ...(await lintSignedImage(options)),
  ]
}

function lintTftp({ tftpBlockBytesMax, tftpPort }: PiLintOptions): PiFinding[] {
  const what = 'TFTP'
  if (tftpPort !== 69) {
    const is = tftpPort === undefined ? 'TFTP is off' : `TFTP listens on port ${tftpPort}`
    return [{ level: 'error', what, sentence: `${is}; a Pi asks at port 69 only (docs/ports.md).` }]
  }
  if (tftpBlockBytesMax >= 1468) return []
  const sentence = `tftp.blockBytesMax is ${tftpBlockBytesMax}; at 1468, which a Pi asks for, larger files get through.`
  return [{ level: 'warning', what, sentence }]
}

async function lintAgent(files: PiLintOptions['files']): Promise<PiFinding[]> {
  const findings: PiFinding[] = []
  for (const file of ['kernel', 'initramfs'] as const) {
    const what = `agent/arm64/${file}`
    const size = await sizeOf(() => files.agent('arm64', file))
    if (size === undefined) {
      const sentence = 'There is no agent for arm64: add arm64 to image.architectures.'
      return [{ level: 'error', what: 'agent/arm64', sentence }]
    }
    findings.push(...lintSize(what, size))
  }
  return findings
}

/** Exported for its numbers: they are facts about hardware, and have a test of their own. */
export function lintSize(what: string, bytes: number): PiFinding[] {
  const findings: PiFinding[] = eras
    .filter(({ blockBytes }) => bytes >= blocksMax * blockBytes)
    .map(({ blockBytes, cause, until }) => ({
      level: 'warning',
      what,
      sentence: `${megabytes(bytes)} are more than an EEPROM before ${until} loads by TFTP (${megabytes(blocksMax * blockBytes)}: ${cause}); update it, or boot by HTTP.`,
    }))
  // What Pi 4s reach, a block per round trip (rpi-eeprom#87: 4.7 to 4.9 MB a second); one that needs longer than its time for one file starts over.
  if (bytes > fileTimeoutSeconds * 4_000_000) {
    const sentence = `${megabytes(bytes)} may take longer than ${fileTimeoutSeconds} s by TFTP; raise TFTP_FILE_TIMEOUT in the EEPROM.`
    findings.push({ level: 'warning', what, sentence })
  }
  if (findings.length === 0)
    findings.push({ level: 'ok', what, sentence: `${megabytes(bytes)}: every EEPROM loads that.` })
  return findings
}

async function lintFirmware(files: PiLintOptions['files']): Promise<PiFinding[]> {
  const findings: PiFinding[] = []
  for (const [board, names] of Object.entries(firmwareFiles)) {
    const missing: string[] = []
    for (const name of names)
      if ((await sizeOf(() => files.raspberryPi(name))) === undefined) missing.push(name)
    findings.push(
      missing.length === 0
        ? { level: 'ok', what: board, sentence: 'Its firmware is here.' }
        : {
            level: 'warning',
            what: board,
            sentence: `${missing.join(', ')} not here: it cannot boot by TFTP. 'image.raspberryPi: true' takes them from Debian; or put them into raspberry-pi/ of the files folder (docs/boot-methods.md).`,
          },
    )
  }
  return findings
}

/** HTTP boot loads boot.sig, then boot.img, and nothing that is not signed (raspberrypi/documentation, "HTTP boot"). */
async function lintSignedImage({ files, publicKey }: PiLintOptions): Promise<PiFinding[]> {
  const what = 'HTTP boot'
  // Before anything else: a file that is no key is a mistake also where it would verify nothing.
  const key = publicKey === undefined ? undefined : toKey(publicKey)
  const image = await contentOf(() => files.raspberryPi('boot.img'))
  const text = await contentOf(() => files.raspberryPi('boot.sig'))
  if (image === undefined && text === undefined) {
    const nothing = key === undefined ? '' : ' With the key nothing was verified.'
    return [{ level: 'ok', what, sentence: `No boot.img is here; boards boot by TFTP.${nothing}` }]
  }
  const error = (sentence: string): PiFinding[] => [{ level: 'error', what, sentence }]
  if (image === undefined) return error('boot.sig is here, but no boot.img beside it.')
  if (text === undefined)
    return error('boot.img has no boot.sig beside it: muster agent boot-image --sign makes both.')
  const signature = parseBootSignature(text.toString('latin1'))
  if (signature === undefined)
    return error('boot.sig does not begin with a SHA-256 of 64 digits; make it again with rpi-eeprom-digest.')
  if (signature.sha256 !== createHash('sha256').update(image).digest('hex'))
    return error('boot.sig is of another boot.img: sign this one.')
  if (signature.rsa === undefined)
    return error('boot.sig has a sum and no signature (rsa2048:): rpi-eeprom-digest needs -k with your key.')
  if (key === undefined)
    return [
      { level: 'ok', what, sentence: 'boot.sig is of this boot.img; whose key signed it was not checked.' },
    ]
  if (verify('sha256', image, key, signature.rsa))
    return [{ level: 'ok', what, sentence: 'boot.img is signed by this key.' }]
  return error('boot.sig was not made with this key: boards that have it refuse boot.img.')
}

function toKey(pem: string): KeyObject {
  try {
    return createPublicKey(pem)
  } catch (cause) {
    throw new MusterError(
      'request-invalid',
      'The key is no public key in PEM (-----BEGIN PUBLIC KEY-----).',
      {
        cause,
      },
    )
  }
}

async function sizeOf(open: () => Promise<BootFile>): Promise<number | undefined> {
  const file = await unlessMissing(open)
  await file?.close()
  return file?.size
}

async function contentOf(open: () => Promise<BootFile>): Promise<Buffer | undefined> {
  const file = await unlessMissing(open)
  if (file === undefined) return undefined
  return Buffer.concat(await file.stream({ start: 0, end: file.size - 1 }).toArray())
}

async function unlessMissing(open: () => Promise<BootFile>): Promise<BootFile | undefined> {
  try {
    return await open()
  } catch (error) {
    if (errorCodeOf(error) === 'file-not-found') return undefined
    throw error
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}
