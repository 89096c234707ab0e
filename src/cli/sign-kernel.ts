/** `muster image sign`: the signature that machines with the operator's Secure Boot keys want of a kernel before they kexec it. */
import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { type ImageSigner, imageSigner, signImage } from '../builder/authenticode.ts'
import { MusterError } from '../errors.ts'
import { systemReason } from '../system-error.ts'
import type { Context } from './context.ts'
import { readGiven } from './given-file.ts'
import { bytes, print } from './output.ts'

export function addSignKernel(image: Command, context: Context): void {
  image
    .command('sign')
    .argument('<kernel>', 'the kernel as a PE image: bzImage, EFI Image')
    .description(
      'sign a kernel for machines whose firmware has your Secure Boot certificate, in place of the signature it has',
    )
    .requiredOption('--sign <file>', 'RSA key (PEM)')
    .requiredOption('--cert <file>', 'its certificate (PEM)')
    .requiredOption('--out <file>', 'where the signed kernel goes; may be the same file')
    .action((kernel: string, options: { sign: string; cert: string; out: string }) => {
      const signed = signImage(
        readGiven(kernel, { by: '<kernel>', what: 'The kernel', code: 'request-invalid' }),
        readImageSigner(options.sign, options.cert),
        kernel,
      )
      writeOut(options.out, signed)
      print(
        context.output(),
        { out: options.out, bytes: signed.length },
        () => `${options.out}  ${bytes(signed.length)}, signed\n`,
      )
    })
}

/** @throws MusterError config-invalid */
function writeOut(path: string, bytes: Uint8Array): void {
  try {
    writeFileSync(path, bytes)
  } catch (cause) {
    throw new MusterError(
      'config-invalid',
      `--out: ${path} cannot be written: ${systemReason(cause)}. Name another place.`,
      {
        cause,
      },
    )
  }
}

/** @throws MusterError key-invalid */
export function readImageSigner(sign: string, cert: string): ImageSigner {
  const files = { key: readPem(sign, '--sign'), certificate: readPem(cert, '--cert') }
  return imageSigner({ ...files, keyName: sign, certificateName: cert })
}

/** @throws MusterError key-invalid */
export function readCertificate(path: string): X509Certificate {
  try {
    return new X509Certificate(readPem(path, '--secure-boot'))
  } catch (cause) {
    if (cause instanceof MusterError) throw cause
    throw new MusterError('key-invalid', `${path} is not a certificate: ${(cause as Error).message}.`, {
      cause,
    })
  }
}

function readPem(path: string, by: string): string {
  return readGiven(path, { by, code: 'key-invalid' }).toString('utf8')
}
