import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { verifyClearSigned } from '../../src/builder/openpgp.ts'
import { errorCodeOf } from '../../src/errors.ts'
import { skipReason, tool } from '../support/tools.ts'
import { armor, clearSign, packet, publicKeyBody } from './archive-simulator.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const body = publicKeyBody(publicKey)
const key = armor('PUBLIC KEY BLOCK', packet(6, body))
const text = 'Origin: Debian\n- dashes  \n\nCodename: trixie'
const message = clearSign(text, privateKey, body)
const gpg = tool('gpg')
const shipped = join(import.meta.dirname, '../../images/agent/keys')

const codeOf = (action: () => unknown) => {
  try {
    action()
    return 'accepted'
  } catch (error) {
    return errorCodeOf(error)
  }
}

describe('signed text', () => {
  test('is given as it stands when one of the keys signed it', () => {
    expect(verifyClearSigned(message, [key])).toBe(text)
  })

  test.each([
    ['a changed letter', message.replace('Debian', 'Debiam')],
    ['a line more', message.replace('Codename', 'More: x\nCodename')],
    ['no signature', text],
    [
      'a signature that is cut',
      `${message.slice(0, message.indexOf('END PGP') - 40)}-----END PGP SIGNATURE-----\n`,
    ],
  ])('with %s is refused', (_, changed) => {
    expect(codeOf(() => verifyClearSigned(changed!, [key]))).toBe('build-failed')
  })

  test('of a stranger is refused, also beside a good key', () => {
    const other = generateKeyPairSync('ed25519')
    const strange = clearSign(text, other.privateKey, publicKeyBody(other.publicKey))
    expect(codeOf(() => verifyClearSigned(strange, [key]))).toBe('build-failed')
    // The stranger signs in the name of our key.
    expect(codeOf(() => verifyClearSigned(clearSign(text, other.privateKey, body), [key]))).toBe(
      'build-failed',
    )
  })

  test('before or after the frame counts for nothing', () => {
    expect(codeOf(() => verifyClearSigned(`Origin: Evil\n${message}`, [key]))).toBe('build-failed')
    expect(verifyClearSigned(`${message}Origin: Evil\n`, [key])).toBe(text)
  })

  test('that is damaged anywhere is refused, or what was signed comes out; nothing else happens', () => {
    fc.assert(
      fc.property(fc.nat(message.length - 1), fc.string({ maxLength: 3 }), (at, patch) => {
        const changed = message.slice(0, at) + patch + message.slice(at + 1)
        try {
          expect(verifyClearSigned(changed, [key]).replace(/[ \t\r]+$/gm, '')).toBe(text.replace(/ +$/gm, ''))
        } catch (error) {
          expect(errorCodeOf(error)).toBe('build-failed')
        }
      }),
    )
  })

  test.skipIf(gpg === undefined)(
    `of gpg is accepted, by RSA and by Ed25519${gpg ? '' : ` (${skipReason('gpg')})`}`,
    () => {
      const home = mkdtempSync(join(tmpdir(), 'muster-gpg-'))
      const run = (args: string[], input = '') =>
        execFileSync(
          gpg!,
          [
            '--homedir',
            home,
            '--batch',
            '--quiet',
            '--passphrase',
            '',
            '--pinentry-mode',
            'loopback',
            ...args,
          ],
          { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] },
        )
      try {
        for (const algorithm of ['rsa2048', 'ed25519']) {
          run(['--quick-generate-key', `${algorithm}@example.test`, algorithm, 'sign'])
          const signed = run(['--local-user', `${algorithm}@example.test`, '--clear-sign'], `${text}\n`)
          const armored = run(['--armor', '--export', `${algorithm}@example.test`])
          expect(verifyClearSigned(signed, [armored])).toBe(text)
          expect(codeOf(() => verifyClearSigned(signed.replace('trixie', 'bullseye'), [armored]))).toBe(
            'build-failed',
          )
        }
      } finally {
        rmSync(home, { recursive: true, force: true })
      }
    },
    60_000,
  )
})

test("the shipped keys are Debian's for trixie, and can be read", () => {
  const names = readdirSync(shipped)
  expect(names.length).toBeGreaterThan(0)
  const keys = names.map((name) => readFileSync(join(shipped, name), 'utf8'))
  // A message that none of them signed: refused for that, not because a key could not be read.
  expect(() => verifyClearSigned(message, keys)).toThrow(/no good signature/)
})
