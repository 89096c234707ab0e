/** Our TFTP server alone in a process, for the benchmarks beside it: `server.ts FOLDER PORT ENGINE`. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLog } from '../../../src/log.ts'
import { type EngineChoice, startTftpServer } from '../../../src/tftp/start.ts'

const [folder = '.', port = '6969', engine = 'auto'] = process.argv.slice(2)

const server = await startTftpServer({
  engine: engine as EngineChoice,
  log: silentLog,
  open: async ({ filename }) => {
    const handle = await open(join(folder, filename))
    const { size } = await handle.stat()
    return {
      size,
      descriptor: handle.fd,
      read: async (offset, length) => {
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(length), 0, length, offset)
        return buffer.subarray(0, bytesRead)
      },
      close: () => handle.close(),
    }
  },
})
await server.listen({ host: '127.0.0.1', port: Number(port) })
