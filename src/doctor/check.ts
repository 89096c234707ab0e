/** What a check says. Each has a file of its own: a function that judges what was measured, and one that measures. */
export type Verdict =
  | { status: 'ok'; found: string }
  | { status: 'trouble'; found: string; wayOut: string }
  /** It could not be checked, and why. */
  | { status: 'unknown'; why: string }

export const ok = (found: string): Verdict => ({ status: 'ok', found })
export const trouble = (found: string, wayOut: string): Verdict => ({ status: 'trouble', found, wayOut })
export const unknown = (why: string): Verdict => ({ status: 'unknown', why })

/** What is known of the server before anything is measured. */
export type Facts = {
  /** Host that machines reach the server at, and the addresses of this machine. */
  host: string
  own: readonly string[]
  firmwarePort: number
  /** Undefined: TFTP is off. */
  tftpPort: number | undefined
  blockBytes: number
  dhcpMode: 'off' | 'proxy' | 'server' | 'auto'
  /** What the running server has made for machines, and what it could not make; undefined: none runs. */
  prepared:
    | {
        agents: readonly { arch: string; hardware?: string | undefined }[]
        missing: readonly { what: string; code: string; reason: string; older?: boolean | undefined }[]
      }
    | undefined
  /** Of each repository's metadata; undefined: no server runs that could say. */
  roles: readonly { repository: string; role: string; expires: string }[] | undefined
  /** Repositories of other servers that this one follows and could not at the last attempt, and why. */
  syncFailures: readonly { repository: string; upstream: string; reason: string }[]
  /** Folders whose disk may be full. */
  folders: readonly string[]
  /** Servers of others whose clock is compared with ours. */
  clocks: readonly string[]
}
