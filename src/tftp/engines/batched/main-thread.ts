/** The main thread as the server sees it from the engine's: it opens files, and takes what is said. */
import type { Log } from '../../../log.ts'
import type { TftpFile, TftpRequest } from '../../file.ts'
import { type FromWorker, fromPlainError, type ToWorker, toPlainError } from './messages.ts'

type Question =
  | { kind: 'open'; request: TftpRequest }
  | { kind: 'read'; file: number; offset: number; length: number }
  | { kind: 'close'; file: number }
type Answer = Extract<ToWorker, { kind: 'opened' | 'bytes' | 'done' | 'failed' }>

export class MainThread {
  readonly log: Log
  readonly #send: (message: FromWorker) => void
  readonly #asked = new Map<number, PromiseWithResolvers<Answer>>()
  #nextId = 1

  constructor(send: (message: FromWorker) => void) {
    this.#send = send
    const say = (level: keyof Log) => (fields: object, message?: string) => {
      const { err, ...rest } = fields as { err?: unknown }
      const error = err === undefined ? undefined : toPlainError(err)
      send({ kind: 'log', level, fields: rest, error, message })
    }
    this.log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
  }

  async open(request: TftpRequest): Promise<TftpFile> {
    const answer = await this.#ask({ kind: 'open', request })
    if (answer.kind !== 'opened') throw new Error(`unexpected answer "${answer.kind}" to "open"`)
    const { file, size, descriptor } = answer
    return {
      size,
      descriptor,
      read: async (offset, length) => {
        const part = await this.#ask({ kind: 'read', file, offset, length })
        return part.kind === 'bytes' ? part.bytes : new Uint8Array(0)
      },
      close: async () => {
        await this.#ask({ kind: 'close', file })
      },
    }
  }

  answered(answer: Answer): void {
    const asked = this.#asked.get(answer.id)
    this.#asked.delete(answer.id)
    if (answer.kind === 'failed') asked?.reject(fromPlainError(answer.error))
    else asked?.resolve(answer)
  }

  #ask(question: Question): Promise<Answer> {
    const id = this.#nextId++
    const asked = Promise.withResolvers<Answer>()
    this.#asked.set(id, asked)
    this.#send({ ...question, id })
    return asked.promise
  }
}
