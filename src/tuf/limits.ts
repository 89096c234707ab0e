/** A limit on everything that comes from outside before it is verified; the sizes are those that TUF clients share. */
export type TufLimits = {
  rootBytes: number
  timestampBytes: number
  /** Where timestamp.json does not say a length. */
  snapshotBytes: number
  /** Where snapshot.json does not say a length. */
  targetsBytes: number
  /** New root versions in one refresh; the next refresh goes on from there. */
  rootRotations: number
  /** Delegated roles asked for one target. */
  delegations: number
}

export const defaultLimits: TufLimits = {
  rootBytes: 512_000,
  timestampBytes: 16_384,
  snapshotBytes: 2_000_000,
  targetsBytes: 5_000_000,
  rootRotations: 256,
  delegations: 32,
}

/** Entries in one file. tuf-js copies its maps once per entry, so work grows with the square. */
export const maxEntries = { keys: 256, signatures: 256, roles: 1024, meta: 4096, targets: 4096 } as const
