/** One code for a layer that cannot be read; the sentence says what is wrong, and whoever knows the layer says which. */
import { MusterError } from '../errors.ts'

export function layerInvalid(reason: string, cause?: unknown): MusterError {
  return new MusterError(
    'layer-invalid',
    `The layer cannot be read: ${reason}.`,
    cause === undefined ? {} : { cause },
  )
}
