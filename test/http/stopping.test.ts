import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { configSchema } from '../../src/config/schema.ts'
import { createFirmwarePlane } from '../../src/http/firmware.ts'
import { silentLog } from '../../src/log.ts'

test('a machine in the middle of a download does not keep the server from stopping', async () => {
  const size = 1_000_000_000
  const kernel = {
    size,
    etag: 'kernel',
    contentType: 'application/octet-stream',
    read: async () => new Uint8Array(0),
    stream: () =>
      new Readable({
        read() {
          this.push(Buffer.alloc(65_536))
        },
      }),
    close: async () => {},
  }
  const nothing = async () => undefined
  const app = createFirmwarePlane({
    limits: configSchema.parse({}).firmware,
    deciders: {
      boot: { open: async () => kernel, ipxe: async () => '', pixiecore: async () => ({}) },
      content: { metadata: nothing, target: nothing, blob: nothing },
    },
    log: silentLog,
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const machine = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  machine.on('error', () => {})
  machine.write('GET /boot/agent/amd64/kernel HTTP/1.1\r\nHost: muster\r\n\r\n')
  await once(machine, 'data')
  machine.pause()
  const started = performance.now()
  await app.close()
  expect(performance.now() - started).toBeLessThan(2000)
  machine.destroy()
})
