import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { inMemory } from '../../src/boot/files.ts'
import { parseBootSignature } from '../../src/boot/formats/boot-signature.ts'
import { lintRaspberryPi, lintSize } from '../../src/boot/raspberry-pi-lint.ts'
import { MusterError } from '../../src/errors.ts'

const image = Buffer.alloc(5000, 'boot.img ')
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
  type: 'spki',
  format: 'pem',
})
const sum = createHash('sha256').update(image).digest('hex')
const signature = `${sum}\nts: 1760000000\nrsa2048: ${sign('sha256', image, privateKey).toString('hex')}\n`

async function lint(
  there: Record<string, Buffer | string>,
  options: { tftpPort?: number; publicKey?: string; agent?: boolean; blockBytes?: number } = {},
) {
  const missing = () => Promise.reject(new MusterError('file-not-found', 'no'))
  const findings = await lintRaspberryPi({
    files: {
      agent: async () => (options.agent === false ? missing() : inMemory(Buffer.alloc(1000))),
      raspberryPi: async (name) => {
        const content = there[name]
        return content === undefined ? missing() : inMemory(Buffer.from(content))
      },
    },
    tftpPort: 'tftpPort' in options ? options.tftpPort : 69,
    tftpBlockBytesMax: options.blockBytes ?? 1468,
    publicKey: options.publicKey,
  })
  return (what: string) => findings.find((finding) => finding.what === what)
}

describe('a file that is too large', () => {
  const levels = (bytes: number) =>
    lintSize('initramfs', bytes).map(({ level, sentence }) => [level, sentence])
  test('fits every EEPROM up to 67.1 MB', () => {
    expect(lintSize('initramfs', 65_535 * 1024 - 1)[0]?.level).toBe('ok')
    expect(levels(65_535 * 1024)).toEqual([['warning', expect.stringContaining('before 2022-11-25')]])
  })
  test('needs the EEPROM of 2025-09-23 from 96.2 MB on', () => {
    expect(levels(65_535 * 1468)).toEqual([
      ['warning', expect.stringContaining('before 2022-11-25')],
      ['warning', expect.stringContaining('before 2025-09-23')],
    ])
  })
  test('may take longer than the EEPROM waits for one file', () => {
    expect(lintSize('initramfs', 130_000_000).at(-1)?.sentence).toContain('TFTP_FILE_TIMEOUT')
  })
})

describe('what keeps a Raspberry Pi from booting', () => {
  test('TFTP on another port, or off', async () => {
    expect((await lint({}, { tftpPort: 6969 }))('TFTP')).toMatchObject({ level: 'error' })
    expect((await lint({}, { tftpPort: undefined as never }))('TFTP')?.sentence).toContain('TFTP is off')
    expect((await lint({}))('TFTP')).toBeUndefined()
    expect((await lint({}, { blockBytes: 512 }))('TFTP')).toMatchObject({ level: 'warning' })
  })
  test('no agent for arm64', async () => {
    expect((await lint({}, { agent: false }))('agent/arm64')).toMatchObject({ level: 'error' })
  })
  test('firmware that is not there, each file by name', async () => {
    const of = await lint({ 'start4.elf': 'x', 'bcm2711-rpi-4-b.dtb': 'x', 'bcm2712-rpi-5-b.dtb': 'x' })
    expect(of('Raspberry Pi 4')).toMatchObject({
      level: 'warning',
      sentence: expect.stringMatching(/^fixup4\.dat not here: /),
    })
    expect(of('Raspberry Pi 5')).toMatchObject({ level: 'ok' })
    expect(of('Raspberry Pi 3')?.sentence).toContain('bootcode.bin')
  })
})

describe('a signed boot.img', () => {
  const boot = async (sig: string | undefined, key?: string) =>
    (
      await lint(
        { 'boot.img': image, ...(sig === undefined ? {} : { 'boot.sig': sig }) },
        key === undefined ? {} : { publicKey: key },
      )
    )('HTTP boot')
  test.each([
    ['has no signature', undefined, undefined, 'error', /no boot\.sig/],
    [
      'has one of another image',
      signature.replace(/^../, sum.startsWith('00') ? 'ff' : '00'),
      undefined,
      'error',
      /another boot\.img/,
    ],
    ['has a sum alone', `${sum}\n`, undefined, 'error', /no signature/],
    ['has something else beside it', 'hello', undefined, 'error', /does not begin/],
    ['is signed by somebody', signature, undefined, 'ok', /whose key/],
    ['is signed by the boards’ key', signature, pem, 'ok', /by this key/],
    ['is signed by another key', signature, other as string, 'error', /not made with this key/],
  ] as const)('%s', async (_, sig, key, level, sentence) => {
    expect(await boot(sig, key)).toMatchObject({ level, sentence: expect.stringMatching(sentence) })
  })
  test('a key that is none is the asker’s mistake', async () => {
    await expect(boot(signature, 'x')).rejects.toMatchObject({ code: 'request-invalid' })
    // Also where it would verify nothing.
    await expect(boot(undefined, 'x')).rejects.toMatchObject({ code: 'request-invalid' })
    await expect(lint({}, { publicKey: 'x' })).rejects.toMatchObject({ code: 'request-invalid' })
  })
  test('its signature is read as rpi-eeprom-digest writes it', () => {
    expect(parseBootSignature(signature)).toEqual({ sha256: sum, rsa: sign('sha256', image, privateKey) })
  })
  test('is not asked for where there is none', async () => {
    expect((await lint({}))('HTTP boot')).toMatchObject({ level: 'ok' })
    expect((await lint({}, { publicKey: pem }))('HTTP boot')?.sentence).toContain('nothing was verified')
    expect((await lint({ 'boot.sig': signature }))('HTTP boot')).toMatchObject({ level: 'error' })
  })
})
