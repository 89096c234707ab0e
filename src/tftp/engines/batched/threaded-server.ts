/** A TFTP server whose data plane runs in a thread of its own (worker.ts); this is its side on the main thread. */
import { closeSync, writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { TftpFile } from '../../file.ts'
import type { ServerOptions, TftpServer } from '../../server.ts'
import { Counters, type TftpStats } from '../../stats.ts'
import {
  type EngineSettings,
  type FromWorker,
  fromPlainError,
  type ToWorker,
  toPlainError,
  type WorkerData,
} from './messages.ts'

export type ThreadedServerOptions = Omit<ServerOptions, 'engine' | 'counters'> & { settings?: EngineSettings }

/** @throws engine-unavailable where the system, or koffi, does not let it */
export async function startThreadedServer(options: ThreadedServerOptions): Promise<TftpServer> {
  const counters = new Counters()
  const { limits, settings = {} } = options
  const workerData: WorkerData = { limits, counters: counters.memory, engine: settings }
  const worker = new Worker(workerUrl(), { workerData, execArgv: [], name: 'muster-tftp' })
  const first = await new Promise<FromWorker>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  worker.removeAllListeners('error')
  if (first.kind !== 'ready') {
    await worker.terminate()
    throw first.kind === 'unavailable' ? fromPlainError(first.error) : new Error(`unexpected "${first.kind}"`)
  }
  return new ThreadedServer({ options, worker, counters, eventDescriptor: first.eventDescriptor })
}

/** The one place that knows where the worker's code is: TypeScript in a checkout, JavaScript when installed. */
function workerUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('./worker.ts', import.meta.url)
    : new URL('./worker.js', import.meta.url)
}

type Parts = {
  options: ThreadedServerOptions
  worker: Worker
  counters: Counters
  eventDescriptor: number
}

class ThreadedServer implements TftpServer {
  readonly #parts: Parts
  readonly #files = new Map<number, TftpFile>()
  readonly #listening = new Map<number, PromiseWithResolvers<{ host: string; port: number }>>()
  readonly #ended: Promise<unknown>
  #nextId = 1
  /** The thread is gone; its eventfd's number may mean another file by now. */
  #over = false
  #stopping: Promise<void> | undefined
  readonly #atExit = () => this.#wake({ kind: 'stop' })

  constructor(parts: Parts) {
    this.#parts = parts
    const { worker } = parts
    worker.on('message', (message: FromWorker) => this.#receive(message))
    // A broken invariant: nobody could ask for files any more, so the process stops and is started again.
    worker.on('error', (error) => {
      throw new Error('The TFTP thread ended', { cause: error })
    })
    this.#ended = new Promise((resolve) => worker.once('exit', resolve))
    // A thread that waits in a system call would keep a process from ending.
    process.once('exit', this.#atExit)
  }

  listen(where: { host: string; port: number }): Promise<{ host: string; port: number }> {
    const id = this.#nextId++
    const answer = Promise.withResolvers<{ host: string; port: number }>()
    this.#listening.set(id, answer)
    this.#wake({ kind: 'listen', id, ...where })
    return answer.promise
  }

  stats(): TftpStats {
    return this.#parts.counters.read()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    process.removeListener('exit', this.#atExit)
    this.#wake({ kind: 'stop' })
    await this.#ended
    this.#over = true
    closeSync(this.#parts.eventDescriptor)
    await Promise.allSettled([...this.#files.values()].map((file) => file.close()))
  }

  #wake(message: ToWorker): void {
    if (this.#over) return
    const { worker, eventDescriptor } = this.#parts
    const bytes = message.kind === 'bytes' ? [message.bytes.buffer as ArrayBuffer] : []
    worker.postMessage(message, bytes)
    writeSync(eventDescriptor, one)
  }

  #receive(message: FromWorker): void {
    const { log, onRefused, onTransfer } = this.#parts.options
    if (message.kind === 'log') {
      const { level, fields, error, message: text } = message
      log[level](error === undefined ? fields : { ...fields, err: fromPlainError(error) }, text)
    } else if (message.kind === 'transfer') onTransfer?.(message.report)
    else if (message.kind === 'refused') onRefused?.(message.refusal)
    else if (message.kind === 'listening') {
      const { id, host, port } = message
      this.#listening.get(id)?.resolve({ host, port })
    } else if (message.kind === 'failed')
      this.#listening.get(message.id)?.reject(fromPlainError(message.error))
    else if (message.kind === 'open' || message.kind === 'read' || message.kind === 'close')
      void this.#answer(message)
  }

  async #answer(question: Extract<FromWorker, { kind: 'open' | 'read' | 'close' }>): Promise<void> {
    const { id } = question
    try {
      this.#wake(await this.#answerTo(question))
    } catch (error) {
      this.#wake({ kind: 'failed', id, error: toPlainError(error) })
    }
  }

  async #answerTo(question: Extract<FromWorker, { kind: 'open' | 'read' | 'close' }>): Promise<ToWorker> {
    const { id } = question
    if (question.kind === 'open') {
      const opened = await this.#parts.options.open(question.request)
      this.#files.set(id, opened)
      return { kind: 'opened', id, file: id, size: opened.size, descriptor: opened.descriptor }
    }
    const file = this.#files.get(question.file)
    if (question.kind === 'read') {
      const bytes = await file?.read(question.offset, question.length)
      // A copy of its own: memory that is handed to the other thread is gone here.
      return { kind: 'bytes', id, bytes: new Uint8Array(bytes ?? []) }
    }
    this.#files.delete(question.file)
    await file?.close()
    return { kind: 'done', id }
  }
}

/** An eventfd adds up what is written; any number above zero ends a wait. */
const one = new Uint8Array(new BigUint64Array([1n]).buffer)
