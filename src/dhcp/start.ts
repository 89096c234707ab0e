/** The engine that suits this machine. */
import { loadLibc } from '../datagram/libc.ts'
import { errorCodeOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Engine } from './engine.ts'
import { createBatchedEngine } from './engines/batched.ts'
import { dgramEngine } from './engines/dgram.ts'

/** `auto`: batched system calls where they can be had, and node:dgram anywhere else. */
export type EngineChoice = 'auto' | 'batched' | 'dgram'

/** `load` is another one only in tests. @throws engine-unavailable, only with the engine `batched` */
export async function chooseEngine(
  { engine = 'auto', log, maxPacketBytes }: { engine?: EngineChoice; log: Log; maxPacketBytes: number },
  load = loadLibc,
): Promise<Engine> {
  if (engine === 'dgram') return dgramEngine
  try {
    return createBatchedEngine(await load(), maxPacketBytes)
  } catch (error) {
    if (engine === 'batched' || errorCodeOf(error) !== 'engine-unavailable') throw error
    log.info({ reason: (error as Error).message }, 'DHCP goes through node:dgram')
    return dgramEngine
  }
}
