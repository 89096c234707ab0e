/** Whether machines that are locked down would kexec what is about to be published: looked at before anything is signed. */
import type { X509Certificate } from 'node:crypto'
import { isSignedBy } from '../builder/authenticode.ts'
import { MusterError } from '../errors.ts'
import { pickArtifact } from '../oci/artifact.ts'
import { type PublishRequest, resolveManifests } from '../releases/publish-here.ts'

/**
 * @param certificate what the machines have in their `db`
 * @throws MusterError `kexec-locked-down` naming the first kernel without this certificate's signature; what the source throws
 */
export async function checkKernelSignatures(
  request: Pick<PublishRequest, 'source' | 'name' | 'arch'>,
  certificate: X509Certificate,
): Promise<void> {
  for (const { arch, manifest } of await resolveManifests(request)) {
    const { kernel } = pickArtifact(manifest)
    const chunks: Uint8Array[] = []
    for await (const chunk of request.source.blob(kernel)) chunks.push(chunk)
    if (isSigned(Buffer.concat(chunks), certificate)) continue
    throw new MusterError(
      'kexec-locked-down',
      `The kernel for ${arch} has no signature by ${certificate.subject.replaceAll('\n', ', ')}, so machines that trust this certificate alone ` +
        "would not start it. 'muster image sign' signs it; put the signed one into the image.",
      { details: { arch, digest: kernel.digest } },
    )
  }
}

function isSigned(kernel: Buffer, certificate: X509Certificate): boolean {
  try {
    return isSignedBy(kernel, certificate, 'the kernel')
  } catch {
    // No PE image at all: a gzipped one, or a vmlinux.
    return false
  }
}
