import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { imageDigest, imageSigner, isSignedBy, signImage } from '../../src/builder/authenticode.ts'
import { readPe } from '../../src/builder/pe.ts'
import { secureBootKey } from '../support/secure-boot-keys.ts'
import { skipReason, tool } from '../support/tools.ts'
import { smallPe } from './pe-simulator.ts'

const sbverify = tool('sbverify')
const sbsign = tool('sbsign')
const needsSbverify = sbverify === undefined ? ` (${skipReason('sbverify')})` : ''
const needsSbsign = sbsign === undefined ? ` (${skipReason('sbsign')})` : ''

let folder: string
let ours: Awaited<ReturnType<typeof secureBootKey>>
let theirs: Awaited<ReturnType<typeof secureBootKey>>
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-authenticode-'))
  ours = await secureBootKey(folder, 'ours')
  theirs = await secureBootKey(folder, 'theirs')
})
afterAll(() => rmSync(folder, { recursive: true }))

const signer = (from = ours) =>
  imageSigner({
    key: readFileSync(from.key, 'utf8'),
    certificate: readFileSync(from.certificate, 'utf8'),
    keyName: from.key,
    certificateName: from.certificate,
  })
const verify = (image: Buffer, certificate: string): string => {
  const file = join(folder, 'image.efi')
  writeFileSync(file, image)
  const { stdout, stderr } = spawnSync(sbverify!, ['--cert', certificate, file], { encoding: 'utf8' })
  return stdout + stderr
}

describe('an image signed for Secure Boot', () => {
  test('is the same bytes each time, and its digest does not change with the signature', () => {
    const image = smallPe()
    const signed = signImage(image, signer(), 'image')
    expect(signImage(image, signer(), 'image')).toEqual(signed)
    expect(imageDigest(signed)).toEqual(imageDigest(image))
    expect(readPe(signed, 'image').signatures).toHaveLength(1)
  })

  test.skipIf(sbverify === undefined)(`verifies against its certificate and no other${needsSbverify}`, () => {
    const signed = signImage(smallPe(), signer(), 'image')
    expect(verify(signed, ours.certificate)).toContain('Signature verification OK')
    expect(verify(signed, theirs.certificate)).toContain('Signature verification failed')
  })

  test.skipIf(sbverify === undefined)(`does not verify once a byte of it was changed${needsSbverify}`, () => {
    const signed = signImage(smallPe(), signer(), 'image')
    signed[0x700] = signed[0x700]! ^ 1
    expect(verify(signed, ours.certificate)).toContain('Image fails hash check')
  })

  test.skipIf(sbsign === undefined)(`has the digest that another signer gives it${needsSbsign}`, () => {
    const [unsigned, signed] = [join(folder, 'unsigned.efi'), join(folder, 'signed.efi')]
    writeFileSync(unsigned, smallPe())
    execFileSync(sbsign!, ['--key', ours.key, '--cert', ours.certificate, '--output', signed, unsigned], {
      stdio: 'pipe',
    })
    const [signature] = readPe(readFileSync(signed), 'theirs').signatures
    expect(signature!.includes(imageDigest(smallPe()))).toBe(true)
  })

  test('that is signed again has the new signature alone', () => {
    const once = signImage(smallPe(), signer(theirs), 'image')
    expect(signImage(once, signer(), 'image')).toEqual(signImage(smallPe(), signer(), 'image'))
  })

  test('is known by the certificate, for as long as no byte of image, signature or what it says of itself changes', () => {
    const signed = signImage(smallPe(), signer(), 'image')
    expect(isSignedBy(signed, signer().certificate, 'image')).toBe(true)
    expect(isSignedBy(signed, signer(theirs).certificate, 'image')).toBe(false)
    expect(isSignedBy(smallPe(), signer().certificate, 'image')).toBe(false)
    const covered = [0x610, 0x7f0, ...Array.from({ length: 240 }, (_, index) => signed.length - 250 + index)]
    for (const at of covered) {
      const changed = Buffer.from(signed)
      changed[at] = changed[at]! ^ 1
      expect(isSignedBy(changed, signer().certificate, 'image')).toBe(false)
    }
  })

  test.skipIf(sbsign === undefined)(`by another signer is known as well${needsSbsign}`, () => {
    const [unsigned, signed] = [join(folder, 'plain.efi'), join(folder, 'by-sbsign.efi')]
    writeFileSync(unsigned, smallPe())
    execFileSync(sbsign!, ['--key', ours.key, '--cert', ours.certificate, '--output', signed, unsigned], {
      stdio: 'pipe',
    })
    expect(isSignedBy(readFileSync(signed), signer().certificate, 'image')).toBe(true)
    expect(isSignedBy(readFileSync(signed), signer(theirs).certificate, 'image')).toBe(false)
  })

  test("needs the key's own certificate", () => {
    expect(() => signer({ key: ours.key, certificate: theirs.certificate })).toThrow(
      expect.objectContaining({ code: 'key-invalid' }),
    )
  })
})
