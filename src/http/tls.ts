/**
 * The agent plane's TLS identity: a P-256 key and a self-signed certificate in data/keys. Agents pin the public key
 * (RFC 7469 form), so neither a certificate authority nor a clock is needed to know the server.
 */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { X509CertificateGenerator } from '@peculiar/x509'
import { MusterError } from '../errors.ts'
import { writeFileDurably } from '../store/durable-files.ts'
import { agentPlaneKeyFile, pinOfPrivateKey } from './public-key-pin.ts'

export type TlsIdentity = {
  /** PEM, PKCS#8. */
  key: string
  /** PEM. */
  certificate: string
  /** `sha256//<base64>`: curl's --pinnedpubkey form of the SPKI's sha256. */
  pin: string
}

const certificateFile = 'agent-plane.cert.pem'

/** Loads the identity, or makes it when neither file is there. @throws MusterError key-invalid */
export async function loadTlsIdentity(keysDirectory: string): Promise<TlsIdentity> {
  const keyPath = join(keysDirectory, agentPlaneKeyFile)
  const certificatePath = join(keysDirectory, certificateFile)
  if (!existsSync(keyPath)) await makeIdentity(keyPath, certificatePath)
  try {
    const key = readFileSync(keyPath, 'utf8')
    const certificate = readFileSync(certificatePath, 'utf8')
    return { key, certificate, pin: pinOfPrivateKey(key) }
  } catch (cause) {
    throw new MusterError(
      'key-invalid',
      `The agent plane's key ${keyPath} or its certificate cannot be read. Restore both from the backup: agents that were built with this server's pin know no other key.`,
      { cause, details: { path: keyPath } },
    )
  }
}

async function makeIdentity(keyPath: string, certificatePath: string): Promise<void> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=muster agent plane',
    // Nobody checks these dates: boards without a clock must connect too. They only have to be well formed.
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2049-12-31T00:00:00Z'),
    signingAlgorithm: algorithm,
    keys,
  })
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  const pem = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
  await writeFileDurably(certificatePath, Buffer.from(certificate.toString('pem')))
  // Last, and whole or not at all: half a key would be refused at every later start.
  await writeFileDurably(keyPath, Buffer.from(pem), 0o600)
}
