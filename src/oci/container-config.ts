/** A container image's config (image-spec v1.1, config.md): of it only what its layers are without compression. */
import * as z from 'zod/mini'
import { MusterError } from '../errors.ts'
import { decodeUtf8 } from '../wire/utf8.ts'
import { manifestLimits } from './manifest.ts'

const schema = z.object({
  rootfs: z.object({
    type: z.literal('layers'),
    diff_ids: z
      .array(z.string().check(z.regex(/^sha256:[0-9a-f]{64}$/)))
      .check(z.maxLength(manifestLimits.layers)),
  }),
})

/** The digest of each layer's tar, the lowest first. Attacker-controlled. @throws manifest-invalid */
export function diffIdsOf(bytes: Uint8Array): string[] {
  let value: unknown
  try {
    value = JSON.parse(decodeUtf8(bytes))
  } catch (cause) {
    throw new MusterError('manifest-invalid', "The image's config is not JSON in UTF-8.", { cause })
  }
  const parsed = z.safeParse(schema, value)
  if (parsed.success) return parsed.data.rootfs.diff_ids
  throw new MusterError(
    'manifest-invalid',
    "The image's config names no layers by sha256 (rootfs.diff_ids): this is no container image.",
  )
}
