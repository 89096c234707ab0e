/** What every step works with. */
import type { Crypto } from '../crypto/crypto.ts'
import type { Arch } from '../protocol/identifiers.ts'
import type { Settings } from './config.ts'
import type { Console } from './console.ts'
import type { Host } from './host.ts'
import type { Limits } from './limits.ts'
import type { MemoryMeter } from './memory.ts'
import type { Reporter } from './report.ts'
import type { Refresh } from './steps/metadata.ts'

export type Folders = {
  /** In memory, for this agent alone: the console's log, keys, what is on its way. */
  work: string
  /** config.json and root.json. */
  etc: string
  proc: string
  sys: string
  dev: string
  resolvConf: string
}

export const machineFolders: Folders = {
  work: '/run/muster',
  etc: '/etc/muster',
  proc: '/proc',
  sys: '/sys',
  dev: '/dev',
  resolvConf: '/etc/resolv.conf',
}

export type Agent = {
  host: Host
  crypto: Crypto
  refresh: Refresh
  limits: Limits
  folders: Folders
  settings: Settings
  arch: Arch
  console: Console
  reporter: Reporter
  memory: MemoryMeter
}
