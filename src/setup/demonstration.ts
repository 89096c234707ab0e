/** What a machine may be given without a person's yes: the demonstration image, and nothing else. */
import type { Profile } from '../machines/profiles.ts'
import { helloImage } from './first-start.ts'

/** A cluster may hold a secret, arguments may change what a kernel does, files are unverified: each wants a person. */
export function isDemonstration(profile: Profile): boolean {
  return (
    profile.image?.name === helloImage &&
    profile.arguments.length === 0 &&
    profile.cluster === undefined &&
    profile.files === undefined &&
    profile.unverified !== true
  )
}
