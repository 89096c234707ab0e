/** What tuf-js's store throws, in our codes and words; and bytes in the form that it takes. */
import { LengthOrHashMismatchError, UnsignedMetadataError } from '@tufjs/models/dist/error.js'
import { BadVersionError, ExpiredMetadataError } from 'tuf-js/dist/error.js'
import type { TrustedMetadataStore } from 'tuf-js/dist/store.js'
import { type ErrorCode, MusterError } from '../errors.ts'

/** One step of the store. */
export type Step = {
  /** The file that it judges. */
  name: string
  /** Where the step looks at expiry: the file's, and the time of the refresh. */
  life?: { expires: string; now: Date }
  /** What a complaint about a version means here. */
  wrongVersion: ErrorCode
  /** What a complaint without a class of its own means; `metadata-invalid` where nothing is said. */
  otherwise?: ErrorCode
}

/** @throws metadata-expired, metadata-signature, metadata-mismatch, and what the step names. */
export function judge<T>(step: Step, run: () => T): T {
  try {
    return run()
  } catch (cause) {
    const { name, life, wrongVersion } = step
    const found = cause instanceof Error ? cause.message : String(cause)
    const details = { name }
    if (cause instanceof ExpiredMetadataError && life) throw expired(name, life.expires, life.now, cause)
    if (cause instanceof UnsignedMetadataError) {
      const sentence = `${name} is not signed by enough of the keys that may sign it: ${found}.`
      throw new MusterError('metadata-signature', sentence, { cause, details })
    }
    if (cause instanceof LengthOrHashMismatchError) throw mismatch(name, 'the content that was signed', found)
    const code = cause instanceof BadVersionError ? wrongVersion : (step.otherwise ?? 'metadata-invalid')
    throw new MusterError(code, `${name} does not follow what is trusted already: ${found}.`, {
      cause,
      details,
    })
  }
}

export function expired(name: string, expires: string, now: Date, cause?: unknown): MusterError {
  const time = `${now.toISOString().slice(0, 19)}Z`
  return new MusterError(
    'metadata-expired',
    `${name} expired at ${expires}, and it is ${time}; sign a new one, or correct the clock.`,
    { cause, details: { name, expires, now: time } },
  )
}

export function mismatch(name: string, expected: string, found: string): MusterError {
  return new MusterError('metadata-mismatch', `${name} should have ${expected}, but has ${found}.`, {
    details: { name, expected, found },
  })
}

/** tuf-js asks for a Buffer's text; giving it the text that we parsed rules out a second reading of the bytes. */
export function storeBytes(
  bytes: Uint8Array,
  text: string,
): Parameters<TrustedMetadataStore['updateRoot']>[0] {
  const copy: Uint8Array = bytes.slice()
  Object.defineProperty(copy, 'toString', { value: () => text })
  return copy as Parameters<TrustedMetadataStore['updateRoot']>[0]
}
