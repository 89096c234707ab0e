/** Ports that are to be opened: what keeps one from it names its setting and the way out, and of several all are told at once. */
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { Log } from '../log.ts'
import { systemReason } from '../system-error.ts'
import type { TftpServer } from '../tftp/server.ts'

export type Where = { host: string; port: number }

const unprivilegedTftpPort = 6969
/** Linux: net.ipv4.ip_unprivileged_port_start as it is where nobody set it. */
const unprivilegedPortStart = 1024

/**
 * Ports that are opened one after the other: one that cannot be opened does not hide the next, or a person would mend one a start.
 */
export class OpenPorts {
  readonly #failures: MusterError[] = []

  /** What `open` gives; undefined where it could not be opened. @throws what is not listen-failed */
  async try<Opened>(open: () => Promise<Opened>): Promise<Opened | undefined> {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof MusterError) || error.code !== 'listen-failed') throw error
      this.#failures.push(error)
      return undefined
    }
  }

  /** @throws MusterError listen-failed, with the sentence of each */
  check(): void {
    const [first, ...rest] = this.#failures
    if (first === undefined) return
    if (rest.length === 0) throw first
    const list = this.#failures.map(({ message }) => `  ${message}`).join('\n')
    throw new MusterError('listen-failed', `${this.#failures.length} ports cannot be opened:\n${list}`, {
      cause: first,
      details: { ports: this.#failures.map(({ details }) => details) },
    })
  }
}

/** @returns the port. @throws MusterError listen-failed */
export async function openPlane(
  app: FastifyInstance,
  plane: 'firmware' | 'agent',
  where: Where,
): Promise<number> {
  try {
    await app.listen({ host: where.host, port: where.port })
  } catch (cause) {
    throw cannotListen(`The ${plane} plane`, `${plane}.port`, where, cause)
  }
  return (app.server.address() as AddressInfo).port
}

/** Takes another port where 69 is not permitted. @returns the port. @throws MusterError listen-failed */
export async function openTftp(tftp: TftpServer, where: Where, log: Log): Promise<number> {
  try {
    return (await tftp.listen(where)).port
  } catch (cause) {
    if (where.port !== 69 || !isNotPermitted(cause)) throw cannotListen('TFTP', 'tftp.port', where, cause)
    log.info({ port: unprivilegedTftpPort }, 'port 69 is not permitted to this user')
  }
  try {
    return (await tftp.listen({ ...where, port: unprivilegedTftpPort })).port
  } catch (cause) {
    throw cannotListen('TFTP', 'tftp.port', { ...where, port: unprivilegedTftpPort }, cause)
  }
}

/** @param error the system's, or one of ours that it caused */
export function isNotPermitted(error: unknown): boolean {
  const systemCode = (value: unknown) => (value as { code?: string } | undefined)?.code
  return (
    systemCode(error) === 'EACCES' ||
    (errorCodeOf(error) === 'listen-failed' && systemCode((error as Error).cause) === 'EACCES')
  )
}

/** @param cause the system's error, or one that has it for its cause */
export function cannotListen(what: string, key: string, where: Where, cause: unknown): MusterError {
  const inner = cause instanceof MusterError && cause.cause !== undefined ? cause.cause : cause
  const { why, wayOut } = reasonOf((inner as { code?: string }).code ?? '', key, where.port)
  return new MusterError(
    'listen-failed',
    `${what} cannot listen on ${where.host} port ${where.port}: ${why ?? systemReason(inner)}. ${wayOut}`,
    { cause, details: { key, ...where } },
  )
}

function reasonOf(code: string, key: string, port: number): { why?: string; wayOut: string } {
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return { wayOut: `Name an address that it has by ${key.replace(/\.port$/, '.host')}.` }
  if (code === 'EACCES')
    return {
      why: `this user may take no port below ${unprivilegedPortStart}`,
      wayOut: `Choose a higher one by ${key}, or as root: sysctl net.ipv4.ip_unprivileged_port_start=${port} (docs/ports.md).`,
    }
  return { wayOut: `Choose another one by ${key}, or stop the other program.` }
}
