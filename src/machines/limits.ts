/** Bounds on what machines, real or invented, can make us keep. */
export const machineLimits = {
  /** Machines that no person decided on; those whose agent never signed anything go first, then the longest unseen. Decided ones stay. */
  undecidedMax: 1000,
  /** The same, of one address (an IPv6 /64: `sharesOfNetwork` times that): a flood from one place forgets only its own. */
  undecidedPerAddressMax: 64,
  /** Boots kept of a machine that nobody approved: it only waits, so its last ones tell all. */
  undecidedBootsMax: 4,
  /** Events kept of each of them; an agent that runs says some forty, its outcome is always kept. */
  undecidedEventsPerBootMax: 64,
  /** Boots and events of all machines together that no person decided on, as UTF-8; who takes most gives way. */
  undecidedBytesMax: 67_108_864,
  /** Hellos of machines that are not known yet, in a minute, in all. Known machines do not count. */
  newMachinesPerMinuteMax: 600,
  hellosPerMinutePerAddressMax: 240,
  /** From one address for one machine, so that a neighbour with one address cannot use up a machine's own. */
  hellosPerMinutePerMachineMax: 20,
  /** Addresses and machines that rates are remembered of. */
  rateKeysMax: 20_000,
  /** Log lines about machines that wait for a person, in a minute, in all. */
  waitLinesPerMinuteMax: 30,
  macsPerMachineMax: 16,
  /** Boots kept per machine; those whose agent never signed anything go first, then the longest silent. */
  bootsPerMachineMax: 50,
  eventsPerBootMax: 512,
  /** Events of a machine that belong to no boot. */
  eventsPerMachineMax: 256,
  /** Events that belong to no machine (a machine was forgotten, …). */
  eventsWithoutMachineMax: 4096,
  /** Of UTF-8, as `eventDataBytes`. */
  eventMessageBytes: 2048,
  eventDataBytes: 4096,
  consoleBytes: 65_536,
  /** A boot that was heard of within this time makes another hello of its machine a rival, in ms. */
  rivalWithinMs: 120_000,
  /** A boot without outcome and without a word for this long is abandoned, in ms. */
  abandonedAfterMs: 1_800_000,
  /** How long the same report may be said again, from the first time, in ms. */
  reportRetryMs: 600_000,
  /** After this a booted system can no longer report, in ms from its plan. */
  reportWithinMs: 86_400_000,
  /** MAC addresses that firmware's doings are remembered of, notes of each, and how long before a hello they belong to it, in ms. */
  firmwareMacsMax: 4096,
  firmwareNotesPerMacMax: 16,
  firmwareWithinMs: 900_000,
  profilesMax: 1000,
  clustersMax: 100,
} as const

export type MachineLimits = { [Key in keyof typeof machineLimits]: number }
