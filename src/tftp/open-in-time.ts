/** Opens what was asked for, and waits no longer for it than the client would. */
import { MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Engine } from './engine.ts'
import type { OpenFile, TftpFile, TftpRequest } from './file.ts'

export type OpenInTimeOptions = {
  open: OpenFile
  engine: Pick<Engine, 'now' | 'wakeAt'>
  giveUpAfterMs: number
  log: Log
}

/** A file that comes too late is closed. @throws transfer-timeout, or what `open` throws */
export function openInTime(request: TftpRequest, options: OpenInTimeOptions): Promise<TftpFile> {
  const { engine, giveUpAfterMs, log, open } = options
  return new Promise((resolve, reject) => {
    let late = false
    const timer = engine.wakeAt(engine.now() + giveUpAfterMs, () => {
      late = true
      reject(
        new MusterError(
          'transfer-timeout',
          `"${request.filename}" was not opened within ${giveUpAfterMs} ms`,
        ),
      )
    })
    Promise.try(open, request)
      .then((file) => (late ? file.close() : resolve(file)), reject)
      .finally(() => timer.cancel())
      .catch((error: unknown) => log.warn({ err: error }, 'TFTP file could not be closed'))
  })
}
