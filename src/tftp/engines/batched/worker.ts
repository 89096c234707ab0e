/**
 * The thread in which the batched engine and the server's whole data plane run: sessions, timers, blocks. Only what a name
 * means is asked of the main thread, and files that are no files on a disk are read there.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { loadLibc } from '../../../datagram/libc.ts'
import { createServer } from '../../server.ts'
import { Counters } from '../../stats.ts'
import { BatchedEngine } from './batched.ts'
import { MainThread } from './main-thread.ts'
import { type FromWorker, type ToWorker, toPlainError, type WorkerData } from './messages.ts'

type Channel = NonNullable<typeof parentPort>

if (parentPort !== null) await serve(parentPort, workerData as WorkerData)

async function serve(channel: Channel, data: WorkerData): Promise<void> {
  const send = (message: FromWorker) => channel.postMessage(message)
  let engine: BatchedEngine
  try {
    engine = new BatchedEngine(await loadLibc(), data.engine)
  } catch (error) {
    send({ kind: 'unavailable', error: toPlainError(error) })
    channel.close()
    return
  }
  const main = new MainThread(send)
  const server = createServer({
    open: (request) => main.open(request),
    limits: data.limits,
    log: main.log,
    engine,
    counters: new Counters(data.counters),
    onTransfer: (report) => send({ kind: 'transfer', report }),
    onRefused: (refusal) => send({ kind: 'refused', refusal }),
  })
  const running = engine.run()
  channel.on('message', (message: ToWorker) => {
    if (message.kind === 'listen') {
      const { id, host, port } = message
      server.listen({ host, port }).then(
        (where) => send({ kind: 'listening', id, ...where }),
        (error: unknown) => send({ kind: 'failed', id, error: toPlainError(error) }),
      )
    } else if (message.kind === 'stop') void stop()
    else main.answered(message)
  })
  const stop = async (): Promise<void> => {
    await server[Symbol.asyncDispose]()
    await engine.stop()
    await running
    send({ kind: 'stopped' })
    channel.close()
  }
  send({ kind: 'ready', eventDescriptor: engine.eventDescriptor })
}
