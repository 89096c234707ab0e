/**
 * `packages.lock`: every Debian package that something is made of, with the bytes it must have.
 *
 * The lock is the trust anchor of a build: it came through review, and a mirror only carries bytes whose sha256 stands
 * in it. JSON, one package a line, so that a refresh reads well as a diff.
 */
import { z } from 'zod'
import { MusterError } from '../errors.ts'

export const architecture = z.enum(['amd64', 'arm64'])
export type Architecture = z.infer<typeof architecture>

const lockedPackage = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/),
  version: z.string().regex(/^[A-Za-z0-9.+:~-]+$/),
  /** Which machines it is for; a package of architecture `all` names both. */
  architectures: z.array(architecture).min(1),
  /** What it is a part of: `agent`, `hello`, `kernel-virtual`, … */
  sets: z.array(z.string()).min(1),
  /** Below the mirror's URL. */
  path: z.string().regex(/^pool\/[A-Za-z0-9._+~/-]+\.deb$/),
  bytes: z.int().positive(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
})
export type LockedPackage = z.infer<typeof lockedPackage>

const lockSchema = z.strictObject({
  apiVersion: z.literal('muster/v1'),
  suite: z.string(),
  /** The `Date` of the signed Release file that named these packages: no input of a build is newer. RFC 3339, UTC. */
  date: z.iso.datetime({ precision: 0 }),
  packages: z.array(lockedPackage),
})
export type Lock = z.infer<typeof lockSchema>

/** @throws build-failed where the text is not a lock; the sentence names the file and the member. */
export function parseLock(text: string, fileName: string): Lock {
  const parsed = lockSchema.safeParse(readJson(text, fileName))
  if (parsed.success) return parsed.data
  const problem = parsed.error.issues[0]
  throw new MusterError(
    'build-failed',
    `${fileName} is not a package lock: ${problem?.path.join('.')} ${problem?.message}. Restore it from version control, or make it again with --refresh.`,
    { cause: parsed.error },
  )
}

export function encodeLock(lock: Lock): string {
  const { packages, ...head } = lock
  const key = (item: LockedPackage) => `${item.name} ${item.architectures.join(' ')}`
  const lines = [...packages].sort((a, b) => compareText(key(a), key(b))).map((item) => JSON.stringify(item))
  const opening = JSON.stringify(head, null, 1).slice(0, -2)
  return `${opening},\n "packages": [\n  ${lines.join(',\n  ')}\n ]\n}\n`
}

/**
 * The packages of these sets for one architecture.
 * @throws build-failed where a set has none: the lock was made without that architecture.
 */
export function lockedPackages(lock: Lock, sets: readonly string[], arch: Architecture): LockedPackage[] {
  for (const set of sets) {
    if (lock.packages.some((item) => item.sets.includes(set) && item.architectures.includes(arch))) continue
    throw new MusterError(
      'build-failed',
      `The package lock has no '${set}' for ${arch}; make it with --refresh.`,
    )
  }
  return lock.packages.filter(
    (item) => item.architectures.includes(arch) && item.sets.some((set) => sets.includes(set)),
  )
}

/** Byte order, whatever the locale: what is sorted here ends up in files that must not differ. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function readJson(text: string, fileName: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new MusterError('build-failed', `${fileName} is not JSON. Restore it from version control.`, {
      cause,
    })
  }
}
