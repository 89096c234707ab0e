/** A lab's scenario: real firmware in a network of its own. */
export type Scenario = {
  about: string
  /** Ends when what it shows was seen. @throws Error with what was seen instead */
  run(): Promise<void>
}
export type Scenarios = Readonly<Record<string, Scenario>>
