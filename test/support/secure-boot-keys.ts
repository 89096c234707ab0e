/** An operator's Secure Boot keys, made for one test, and a machine's variables with them enrolled. */
// What @peculiar/x509 needs to be there before it.
import 'reflect-metadata'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  PemConverter,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { dataFile, skipReason, tool } from './tools.ts'

/** Paths of PEM files. */
export type SecureBootKey = { key: string; certificate: string }

export async function secureBootKey(folder: string, name: string): Promise<SecureBootKey> {
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    publicExponent: new Uint8Array([1, 0, 1]),
    modulusLength: 2048,
  }
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=${name}`,
    notBefore: new Date('2020-01-01T00:00:00Z'),
    notAfter: new Date('2040-01-01T00:00:00Z'),
    signingAlgorithm: algorithm,
    keys,
    // As `openssl req -x509` makes it: Linux does not read a certificate whose list of extensions is empty (EBADMSG).
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const files = { key: join(folder, `${name}.key.pem`), certificate: join(folder, `${name}.cert.pem`) }
  const pkcs8 = await crypto.subtle.exportKey('pkcs8', keys.privateKey)
  writeFileSync(files.key, PemConverter.encode(pkcs8, 'PRIVATE KEY'), { mode: 0o600 })
  writeFileSync(files.certificate, certificate.toString('pem'))
  return files
}

/** OVMF's variables with this one certificate as PK, KEK and db, and Secure Boot on: nothing of Microsoft's boots there. */
export function enrolledVariables(folder: string, { certificate }: SecureBootKey): string {
  const program = tool('virt-fw-vars')
  const factory = dataFile('usr/share/OVMF/OVMF_VARS_4M.fd')
  if (program === undefined) throw new Error(skipReason('virt-fw-vars'))
  if (factory === undefined) throw new Error(skipReason('ovmf'))
  const output = join(folder, 'variables.fd')
  const owner = '6d757374-6572-4b6f-8000-000000000001'
  const add = (option: string) => [option, owner, certificate]
  execFileSync(
    program,
    [
      '--input',
      factory,
      '--output',
      output,
      '--secure-boot',
      '--no-microsoft',
      ...add('--set-pk'),
      ...add('--add-kek'),
      ...add('--add-db'),
    ],
    { stdio: 'pipe' },
  )
  return output
}
