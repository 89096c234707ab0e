/** Whether machines could start what is about to be published: its first bytes are looked at before anything is signed. */
import { kernelHeadBytes, kernelProblem } from '../builder/kernel-format.ts'
import { MusterError } from '../errors.ts'
import { pickArtifact } from '../oci/artifact.ts'
import type { Descriptor } from '../oci/manifest.ts'
import type { ImageSource } from '../oci/source.ts'
import { commandLineProblem } from '../protocol/command-line.ts'
import { type PublishRequest, resolveManifests } from '../releases/publish-here.ts'

/**
 * The codes are those with which a machine would refuse it. Whether bytes are those of their digest is not judged here.
 *
 * @param options `anyKernel`: a kernel that is not known is let through
 * @throws MusterError `kexec-failed` naming what the kernel is, `argument-refused` for its command line, `manifest-invalid`; what the
 *   source throws
 */
export async function checkContent(
  request: Pick<PublishRequest, 'source' | 'name' | 'arch'>,
  options: { anyKernel: boolean },
): Promise<void> {
  for (const { arch, manifest } of await resolveManifests(request)) {
    const { cmdline, kernel } = pickArtifact(manifest)
    if (!options.anyKernel) {
      const problem = kernelProblem(await headOf(request.source, kernel, kernelHeadBytes), arch)
      if (problem !== undefined)
        throw new MusterError(
          'kexec-failed',
          `The kernel for ${arch} could not be started: ${problem}. Put the right file into the image (docs/images.md); --any-kernel publishes it all the same.`,
          { details: { arch, digest: kernel.digest } },
        )
    }
    if (cmdline === undefined) continue
    const problem = commandLineProblem((await headOf(request.source, cmdline, cmdline.size)).toString('utf8'))
    if (problem !== undefined)
      throw new MusterError(
        'argument-refused',
        `The command line for ${arch} would be refused by every machine: ${problem}. Mend the file cmdline of the image.`,
        { details: { arch, digest: cmdline.digest } },
      )
  }
}

/** The first `bytesMax` of a layer, or all of it; the rest is not fetched. */
async function headOf(source: ImageSource, layer: Descriptor, bytesMax: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of source.blob(layer, { firstBytes: bytesMax })) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes >= bytesMax) break
  }
  return Buffer.concat(chunks).subarray(0, bytesMax)
}
