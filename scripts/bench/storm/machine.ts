/** One simulated machine: asks for everything that a real one asks for until its agent has said hello, in that order. */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { HelloRequest } from '../../../src/protocol/hello.ts'
import type { TftpThread } from './tftp-thread.ts'

export type Ports = { tftp: number; firmware: number; agent: number }
export const steps = ['loader', 'autoexec', 'script', 'kernel', 'initramfs', 'hello'] as const
export type Took = Record<(typeof steps)[number], number>

/** Each machine has an address of its own on loopback, 127.110.x.y. Gives milliseconds for each step; rejects at the first that fails. */
export async function boot(
  index: number,
  from: { ports: Ports; loader: string; tftp: TftpThread },
): Promise<Took> {
  const { ports, loader, tftp } = from
  const [high, low] = [index >> 8, index & 0xff]
  const localAddress = `127.110.${high}.${low + 1 > 255 ? 255 : low + 1}`
  const mac = `52:54:00:5e:${high.toString(16).padStart(2, '0')}:${low.toString(16).padStart(2, '0')}`
  const took: Partial<Took> = {}
  const step = async (name: keyof Took, act: () => Promise<unknown>): Promise<void> => {
    const started = performance.now()
    try {
      await act()
    } catch (cause) {
      throw new Error(`${name}: ${(cause as Error).message}`, { cause })
    }
    took[name] = performance.now() - started
  }
  const get = (path: string) => exchange({ localAddress, port: ports.firmware, path, method: 'GET' })
  await step('loader', () => tftp.read({ localAddress, port: ports.tftp, filename: loader }))
  await step('autoexec', () => get('/boot/autoexec.ipxe'))
  await step('script', () => get(`/boot/ipxe?mac=${mac}&uuid=&serial=&buildarch=x86_64&platform=efi`))
  await step('kernel', () => get('/boot/agent/amd64/kernel'))
  await step('initramfs', () => get('/boot/agent/amd64/initramfs'))
  await step('hello', () =>
    exchange({ localAddress, port: ports.agent, path: '/agent/v1/hello', method: 'POST' }, hello(mac)),
  )
  return took as Took
}

function hello(mac: string): HelloRequest {
  const { publicKey } = generateKeyPairSync('ed25519')
  return {
    protocol: 1,
    agent: { version: '0.1.0', arch: 'amd64', origin: 'network' },
    identifiers: { macs: [mac] },
    hardware: { hardwareIds: [], memoryBytes: 1 << 30, processors: 1, firmware: 'uefi' },
    sessionKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    nonce: randomBytes(32).toString('hex'),
  }
}

const timeoutMs = 120_000

/** The answer's bytes are thrown away, but all of them must come. */
function exchange(options: RequestOptions, body?: object): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const all = { host: '127.0.0.1', agent: false, timeout: timeoutMs, ...options }
  const taken = (response: IncomingMessage): void => {
    let bytes = 0
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    response.on('end', () => {
      const length = Number(response.headers['content-length'] ?? bytes)
      if (response.statusCode === 200 && bytes === length) resolve()
      else reject(new Error(`status ${response.statusCode}, ${bytes} of ${length} bytes`))
    })
    response.on('error', reject)
  }
  // The real agent compares the key; here only the load counts.
  const request =
    body === undefined
      ? httpRequest(all, taken)
      : httpsRequest(
          { ...all, rejectUnauthorized: false, headers: { 'content-type': 'application/json' } },
          taken,
        )
  request.on('error', reject)
  request.on('timeout', () => request.destroy(new Error(`no byte for ${timeoutMs} ms`)))
  request.end(body === undefined ? undefined : JSON.stringify(body))
  return promise
}
