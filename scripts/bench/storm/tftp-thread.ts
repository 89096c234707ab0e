/** Reads by TFTP in a thread of its own: an ACK must not wait until megabytes of HTTP were taken. */
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { readByTftp, type TftpRead } from './read-by-tftp.ts'

type Question = TftpRead & { id: number }
type Answer = { id: number; failure: string | undefined }

if (!isMainThread && parentPort !== null) {
  const channel = parentPort
  channel.on('message', ({ id, ...read }: Question) => {
    readByTftp(read).then(
      () => channel.postMessage({ id, failure: undefined } satisfies Answer),
      (error: Error) => channel.postMessage({ id, failure: error.message } satisfies Answer),
    )
  })
}

export type TftpThread = AsyncDisposable & { read(read: TftpRead): Promise<void> }

export function startTftpThread(): TftpThread {
  const worker = new Worker(new URL(import.meta.url), { execArgv: [] })
  const asked = new Map<number, PromiseWithResolvers<void>>()
  let nextId = 1
  worker.on('message', ({ id, failure }: Answer) => {
    if (failure === undefined) asked.get(id)?.resolve()
    else asked.get(id)?.reject(new Error(failure))
    asked.delete(id)
  })
  return {
    read(read) {
      const id = nextId++
      const answer = Promise.withResolvers<void>()
      asked.set(id, answer)
      worker.postMessage({ ...read, id } satisfies Question)
      return answer.promise
    },
    async [Symbol.asyncDispose]() {
      await worker.terminate()
    },
  }
}
