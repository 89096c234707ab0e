/** Where everything lies in the data folder. */
import { join, resolve } from 'node:path'
import type { Config } from '../config/schema.ts'

export type Paths = ReturnType<typeof pathsOf>

export function pathsOf(config: Config) {
  const data = resolve(config.data)
  return {
    data,
    /** SQLite. */
    database: join(data, 'muster.db'),
    /** 0700: everything in it is a secret, or the hash of one. */
    keys: join(data, 'keys'),
    /** Content-addressed blobs, and what the store admitted. */
    blobs: join(data, 'blobs'),
    store: join(data, 'store'),
    /** <repository>/metadata */
    tuf: join(data, 'tuf'),
    /** What firmware loads: agent/<arch>/{kernel,initramfs}, loaders/. */
    boot: join(data, 'boot'),
    cache: config.cache === undefined ? join(data, 'cache') : resolve(config.cache),
    /** The admin plane's socket, 0600. */
    socket: join(data, 'admin.sock'),
  }
}
