/** Every limit and timeout of the agent, with what it bounds. Tests shorten the times. */
export const defaultLimits = {
  /** Waiting for the first network interface, and for the link of one. */
  interfaceTimeoutMs: 30_000,
  linkTimeoutMs: 15_000,
  /** One DHCP exchange: attempts and seconds between them. */
  dhcpAttempts: 6,
  dhcpAttemptSeconds: 3,
  /** One request to the server: connecting, and the whole of it. */
  connectSeconds: 10,
  requestSeconds: 30,
  replyBytes: 4_000_000,
  /** Tries of one request while the server cannot be reached. */
  requestAttempts: 5,
  /** What a `wait` may ask for. */
  pollLeastSeconds: 1,
  pollMostSeconds: 300,
  /** Where there are others to ask, one that says `wait` is left for them after so long. */
  waitElsewhereMs: 300_000,
  /** A transfer slower than this for so long is given up and taken up again. */
  speedBytesPerSecond: 512,
  speedSeconds: 15,
  /**
   * A mirror that brings less than this for so long is left for the next; where all are that slow, the fastest of them goes on.
   * With one mirror nothing is left: lines that slow exist.
   */
  mirrorBytesPerSecond: 65_536,
  mirrorSeconds: 30,
  /** One blob over all mirrors and tries: so long, and its size at this rate on top. 128 kbit/s is a slow satellite line. */
  blobSeconds: 1800,
  blobBytesPerSecond: 16_384,
  /** Tries of one blob on one mirror that bring no byte, one after the other, and tries in all. */
  idleAttempts: 8,
  blobAttempts: 200,
  /** Backoff between tries: the first, and the most; each with half of it as jitter. */
  backoffFirstMs: 500,
  backoffMostMs: 8000,
  /** The longest Retry-After that is waited for. */
  retryAfterMostMs: 60_000,
  /** Backoff between rounds, each beginning with a new hello. */
  roundFirstMs: 3000,
  roundMostMs: 300_000,
  progressMs: 1000,
  /** Waiting events; progress is dropped first. */
  events: 64,
  consoleBytes: 65_536,
  manifestBytes: 4 * 1024 * 1024,
  channelBytes: 65_536,
  /** COMMAND_LINE_SIZE of x86 and arm64 is 2048 with the closing NUL. */
  commandLineBytes: 2047,
  /** What stays free beside the operating system's files and the kernel's copy of them. */
  memoryReserveBytes: 32 * 1024 * 1024,
  /** Between saying why the machine is left alone and the restart. */
  farewellMs: 10_000,
}
export type Limits = typeof defaultLimits
