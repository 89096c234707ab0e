/** Debian 13's QuickJS (2025.04.26), as far as the agent uses it: quickjs.texi, "Standard library". */

declare module 'std' {
  type File = { puts(text: string): void; flush(): void; close(): number }
  export const out: File
  export function exit(status: number): never
}

declare module 'os' {
  export const O_RDONLY: number
  export const O_WRONLY: number
  export const O_RDWR: number
  export const O_CREAT: number
  export const O_TRUNC: number
  export const O_APPEND: number
  export const WNOHANG: number
  export const SIGPIPE: number
  export const SIGTERM: number
  export const SIGKILL: number

  /** A file descriptor, or `-errno`. */
  export function open(path: string, flags: number, mode?: number): number
  export function close(fd: number): number
  export function seek(fd: number, offset: number, whence: number): number
  /** Bytes moved, 0 at the end, or `-errno`. */
  export function read(fd: number, buffer: ArrayBuffer, offset: number, length: number): number
  export function write(fd: number, buffer: ArrayBuffer, offset: number, length: number): number
  /** `[names, errno]`. */
  export function readdir(path: string): [string[], number]
  export function mkdir(path: string, mode?: number): number
  export function remove(path: string): number
  export function rename(from: string, to: string): number
  /** `[read end, write end]`, or null. */
  export function pipe(): [number, number] | null
  /** `undefined` ignores the signal; ignoring is inherited by the programs started afterwards. */
  export function signal(number: number, handler: (() => void) | null | undefined): void
  export function kill(pid: number, signal: number): number
  /** `[pid or 0 or -errno, status]`; status as wait(2) gives it. */
  export function waitpid(pid: number, options: number): [number, number]
  /** With `block: false` the process id. Descriptors above 2 are closed in the child. */
  export function exec(
    argv: readonly string[],
    options: { block: boolean; usePath?: boolean; stdin?: number; stdout?: number; stderr?: number },
  ): number
  export function sleep(delayMs: number): void
}
