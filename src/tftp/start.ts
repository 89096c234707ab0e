/** A TFTP server with the engine that suits this machine. */
import { errorCodeOf } from '../errors.ts'
import { startThreadedServer } from './engines/batched/threaded-server.ts'
import { dgramEngine } from './engines/dgram.ts'
import { defaultTftpLimits, type TftpLimits } from './limits.ts'
import { createServer, type ServerOptions, type TftpServer } from './server.ts'

/** `auto`: batched system calls where they can be had, and node:dgram anywhere else. */
export type EngineChoice = 'auto' | 'batched' | 'dgram'

export type TftpServerOptions = Omit<ServerOptions, 'engine' | 'limits' | 'counters'> & {
  engine?: EngineChoice
  limits?: Partial<TftpLimits>
}

/** `startBatched` is another one only in tests. @throws engine-unavailable, only with the engine `batched` */
export async function startTftpServer(
  options: TftpServerOptions,
  startBatched = startThreadedServer,
): Promise<TftpServer> {
  const { engine = 'auto', log } = options
  const server = { ...options, limits: { ...defaultTftpLimits, ...options.limits } }
  if (engine !== 'dgram') {
    try {
      return await startBatched(server)
    } catch (error) {
      if (engine === 'batched' || errorCodeOf(error) !== 'engine-unavailable') throw error
      log.info({ reason: (error as Error).message }, 'TFTP goes through node:dgram')
    }
  }
  return createServer({ ...server, engine: dgramEngine })
}
