import { once } from 'node:events'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { inMemory } from '../../src/boot/files.ts'
import { configSchema } from '../../src/config/schema.ts'
import { MusterError } from '../../src/errors.ts'
import { createFirmwarePlane, type FirmwareDeciders } from '../../src/http/firmware.ts'
import { silentLog } from '../../src/log.ts'

const script = Buffer.from('#!ipxe\nexit\n')

async function ask(options: RequestOptions): Promise<{ status?: number | undefined; names: string[] }> {
  const app = createFirmwarePlane({
    limits: configSchema.parse({}).firmware,
    deciders: {
      boot: {
        open: async (name: string) => {
          if (name === 'missing') throw new MusterError('file-not-found', 'There is no such file.')
          return inMemory(script, 'text/plain; charset=utf-8')
        },
        ipxe: async () => '#!ipxe\n',
      },
    } as unknown as FirmwareDeciders,
    log: silentLog,
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  try {
    const { port } = app.server.address() as AddressInfo
    const [response] = (await once(request({ port, host: '127.0.0.1', ...options }).end(), 'response')) as [
      IncomingMessage,
    ]
    response.resume()
    await once(response, 'end')
    const names = response.rawHeaders.filter((_, index) => index % 2 === 0)
    return { status: response.statusCode, names }
  } finally {
    await app.close()
  }
}

test.each([
  ['a script', 200, { path: '/boot/autoexec.ipxe' }],
  ['its size alone', 200, { path: '/boot/autoexec.ipxe', method: 'HEAD' }],
  ['a part of it', 206, { path: '/boot/autoexec.ipxe', headers: { range: 'bytes=1-3' } }],
  ["a machine's own script", 200, { path: '/boot/ipxe?mac=52:54:00:12:34:56' }],
  ['what is not there', 404, { path: '/boot/missing' }],
])('GRUB finds Content-Length with its capital letters in the answer to %s', async (_, status, options) => {
  const answer = await ask(options)
  expect(answer.status).toBe(status)
  expect(answer.names).toContain('Content-Length')
  expect(answer.names).toContain('Content-Type')
  for (const name of answer.names) expect(name).toMatch(/^[A-Z][a-z]*(?:-[A-Z][a-z]*)*$/)
})
