/**
 * boot.sig of a Raspberry Pi, as rpi-eeprom-digest writes it and the EEPROM checks it (raspberrypi/rpi-eeprom):
 *
 *     <SHA-256 of boot.img, 64 hexadecimal digits>
 *     ts: <seconds since 1970>
 *     rsa2048: <signature of boot.img, PKCS #1 v1.5 with SHA-256, hexadecimal>
 */
import { createHash, createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { MusterError } from '../../errors.ts'

export type BootSignature = { sha256: string; rsa: Buffer | undefined }

/** Undefined when it does not begin with a sum. */
export function parseBootSignature(text: string): BootSignature | undefined {
  const lines = text.split(/\r?\n/)
  const sha256 = /^[0-9a-f]{64}$/.exec(lines[0] ?? '')?.[0]
  const rsa = lines
    .map((line) => /^rsa2048: *([0-9a-f]{512})$/.exec(line)?.[1])
    .find((hex) => hex !== undefined)
  return sha256 === undefined
    ? undefined
    : { sha256, rsa: rsa === undefined ? undefined : Buffer.from(rsa, 'hex') }
}

/** @param key an RSA key of 2048 bits: all that the EEPROM takes. */
export function signBootImage(image: Uint8Array, key: KeyObject, now: Date): string {
  const sum = createHash('sha256').update(image).digest('hex')
  const seconds = Math.floor(now.getTime() / 1000)
  return `${sum}\nts: ${seconds}\nrsa2048: ${sign('sha256', image, key).toString('hex')}\n`
}

/** @param name of its file, for the error. @throws MusterError `key-invalid` */
export function readBootKey(pem: string, name: string): KeyObject {
  const key = parseKey(pem, name)
  const bits = key.asymmetricKeyDetails?.modulusLength
  if (key.asymmetricKeyType === 'rsa' && bits === 2048) return key
  const is = key.asymmetricKeyType === 'rsa' ? `RSA of ${bits} bits` : (key.asymmetricKeyType ?? 'unknown')
  const sentence = `The key in ${name} is ${is}; a Raspberry Pi takes RSA of 2048 bits only: openssl genrsa -out ${name} 2048`
  throw new MusterError('key-invalid', sentence)
}

function parseKey(pem: string, name: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new MusterError('key-invalid', `${name} is no private key in PEM without a passphrase.`, { cause })
  }
}
