/** A lab's scenario: real firmware in a network of its own. */
export type Scenario = {
  about: string
  /** What its machines are, so that agents are made before the network is closed; amd64 by default. */
  architectures?: readonly ('amd64' | 'arm64')[]
  /** Fetches and builds what it needs, before it has a network without a way out. */
  prepare?(): Promise<void>
  /**
   * Ends when what it shows was seen, with what its steps took where it measured them.
   * @throws Error with what was seen instead
   */
  run(): Promise<Measured> | Promise<void>
}
export type Measured = { seconds: readonly { step: string; seconds: number }[] }
export type Scenarios = Readonly<Record<string, Scenario>>
