/**
 * What the steps need of the machine. Two of these exist: host-quickjs.ts on the machine, and one over Node in the
 * tests; so every step runs in both. Time of day is missing on purpose: the machine's clock is never believed.
 */
export type Host = {
  /** Starts a program found on PATH; one that cannot be started ends with status 127. */
  start(argv: readonly string[]): Promise<Program>
  /** The first `maxBytes` of a file; undefined where it cannot be read. Also for /proc, /sys and devices. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array | undefined>
  /** Replaces the file. `mode` holds for a new file only. */
  writeFile(path: string, bytes: Uint8Array, mode: number): Promise<void>
  /** Writes from `offset` on and leaves the bytes before it; a missing file is made with mode 0600. */
  openWriter(path: string, offset: number): Promise<Writer>
  /** A file that is not there is no error. */
  remove(path: string): Promise<void>
  /** With its parents; one that is there is no error. */
  makeFolder(path: string): Promise<void>
  /** Names without `.` and `..`, sorted; empty where there is no such folder. */
  listFolder(path: string): Promise<string[]>
  /** One line, without its end, to standard output: the machine's console. */
  print(line: string): void
  /** One line to a terminal by its path; one that cannot be opened is no error. */
  printTo(path: string, line: string): void
  /** Monotonic milliseconds, of no particular origin. */
  now(): number
  sleep(delayMs: number): Promise<void>
  /** 0 ≤ x < 1, for jitter only. */
  random(): number
}

export type Program = {
  /** False once the program reads no more. */
  write(bytes: Uint8Array): Promise<boolean>
  closeInput(): Promise<void>
  /** What it has written since, at most 64 KiB; undefined at the end. Waits for the first byte. */
  read(): Promise<Uint8Array | undefined>
  /** Asks it to end (SIGTERM). */
  kill(): void
  /** Waits for its end. Status: its exit status, 128 + signal, or 127. The last of standard error, at most 4 KiB. */
  wait(): Promise<{ status: number; stderr: string }>
}

export type Writer = {
  /** @throws MusterError `memory-too-small` when the (memory) file system is full. */
  write(bytes: Uint8Array): Promise<void>
  close(): Promise<void>
}
