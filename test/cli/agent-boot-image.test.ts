import { execFileSync } from 'node:child_process'
import { createHash, createVerify, generateKeyPairSync } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parseBootSignature } from '../../src/boot/formats/boot-signature.ts'
import { skipReason, tool } from '../support/tools.ts'
import { muster } from './command-line.ts'

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = (bits = 2048) =>
  (bits === 2048 ? privateKey : generateKeyPairSync('rsa', { modulusLength: bits }).privateKey)
    .export({ type: 'pkcs8', format: 'pem' })
    .toString()

/** As Linux for arm64 begins. */
const kernel = `${'MZ'.padEnd(56)}ARM\x64 the kernel`

/** Folders of an agent and of a Pi 4's firmware. */
function site() {
  const folder = mkdtempSync(join(tmpdir(), 'muster-boot-image-'))
  const put = (path: string, content: string) => {
    mkdirSync(join(folder, path, '..'), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  put('agent/kernel', kernel)
  put('agent/initramfs', 'the initramfs')
  for (const name of [
    'start4.elf',
    'fixup4.dat',
    'bcm2711-rpi-4-b.dtb',
    'pieeprom.upd',
    'overlays/miniuart-bt.dtbo',
  ])
    put(`firmware/${name}`, name)
  put('key.pem', pem())
  const run = (...more: string[]) => {
    const argv = [
      'agent',
      'boot-image',
      '--agent',
      join(folder, 'agent'),
      '--firmware',
      join(folder, 'firmware'),
    ]
    return muster([...argv, '--out', join(folder, 'out'), ...more])
  }
  return { folder, put, run, out: join(folder, 'out') }
}

describe('muster agent boot-image', () => {
  test('signs an image as the EEPROM checks it', async () => {
    const { folder, out, run } = site()
    const ran = await run('--sign', join(folder, 'key.pem'))
    expect([ran.code, ran.err]).toEqual([0, ''])
    expect(ran.out).toContain('boots Raspberry Pi 4')
    expect(ran.out).toContain('Raspberry Pi 3 lacks bootcode.bin')
    const image = readFileSync(join(out, 'boot.img'))
    const signature = parseBootSignature(readFileSync(join(out, 'boot.sig'), 'latin1'))
    expect(signature?.sha256).toBe(createHash('sha256').update(image).digest('hex'))
    const verifier = createVerify('RSA-SHA256').update(image)
    expect(verifier.verify(publicKey, signature?.rsa as Buffer)).toBe(true)
  })

  const mcopy = tool('mcopy')
  test.skipIf(mcopy === undefined)(
    `puts in agent, firmware and arguments, and nothing that updates an EEPROM${mcopy === undefined ? ` (${skipReason('mcopy')})` : ''}`,
    async () => {
      const { out, run } = site()
      await run('--server', 'https://192.0.2.1:8443')
      const cat = (name: string) =>
        execFileSync(mcopy as string, ['-i', join(out, 'boot.img'), `::${name}`, '-'], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        })
      expect(cat('muster-kernel')).toBe(kernel)
      expect(cat('config.txt')).toMatch(/^kernel=muster-kernel\ninitramfs muster-initramfs followkernel$/m)
      expect(cat('cmdline.txt')).toMatch(/^[^\n]*muster\.server=https:\/\/192\.0\.2\.1:8443\n?$/)
      expect(cat('overlays/miniuart-bt.dtbo')).toBe('overlays/miniuart-bt.dtbo')
      expect(() => cat('pieeprom.upd')).toThrow()
      expect(existsSync(join(out, 'boot.sig'))).toBe(false)
    },
  )

  test.each([
    ['no agent there', 'file-not-found', ['--agent', '/nowhere']],
    ['no firmware there', 'file-not-found', ['--firmware', '/nowhere']],
    ['a key that is none', 'key-invalid', ['--sign', '/dev/null']],
    ['a folder that cannot be written', 'config-invalid', ['--out', '/proc/nowhere']],
  ])('refuses %s by name', async (_, code, more) => {
    const { run } = site()
    const ran = await run(...more)
    expect(ran.code).not.toBe(0)
    expect(ran.err).toContain(code)
    expect(ran.err).toContain(more[1])
    expect(ran.err).not.toContain('    at ')
  })

  test('refuses a server that no agent would ask, and leaves no signature of an older image', async () => {
    const { folder, out, run } = site()
    expect(await run('--server', 'http://192.0.2.1 x')).toMatchObject({
      code: 2,
      err: expect.stringContaining('https://host:port'),
    })
    await run('--sign', join(folder, 'key.pem'))
    await run()
    expect(existsSync(join(out, 'boot.sig'))).toBe(false)
  })

  test('refuses an agent of another architecture', async () => {
    const { put, run } = site()
    put('agent/kernel', 'MZ and x86'.padEnd(100))
    expect(await run()).toMatchObject({ err: expect.stringContaining('not for arm64') })
  })

  test('refuses firmware that boots no board, and a key that no EEPROM takes', async () => {
    const { folder, put, run } = site()
    put('big.pem', pem(3072))
    expect((await run('--sign', join(folder, 'big.pem'))).err).toContain('RSA of 3072 bits')
    mkdirSync(join(folder, 'none'))
    const none = await run('--firmware', join(folder, 'none'))
    expect(none.err).toContain('whole for no board')
  })
})
