/** A TFTP reader as EDK2 is one: blksize 1468, windowsize 4, an ACK for each window and for each gap, its own timer. */
import { createSocket, type RemoteInfo } from 'node:dgram'
import { encodePacket, parsePacket } from '../../../src/tftp/packet.ts'

const silentMs = 1000
const giveUpMs = 60_000

export type TftpRead = { localAddress: string; port: number; filename: string }

/** Gives how many bytes came. Rejects at an ERROR, and when nothing new came for a minute. */
export function readByTftp({ localAddress, port, filename }: TftpRead): Promise<number> {
  const socket = createSocket({
    type: 'udp4',
    lookup: (address, _options, callback) => callback(null, address, 4),
    recvBufferSize: 1 << 18,
  })
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  let server: number | undefined
  let [blockBytes, windowBlocks, received, inWindow, bytes, told] = [512, 1, 0, 0, 0, false]
  let [heardMs, progressMs] = [performance.now(), performance.now()]
  const options = new Map(Object.entries({ tsize: '0', blksize: '1468', windowsize: '4' }))
  const request = encodePacket({ op: 'read', filename, mode: 'octet', options })
  const ack = (): void => {
    inWindow = 0
    socket.send(Uint8Array.of(0, 4, received >> 8, received), server ?? port, '127.0.0.1')
  }
  const end = (error?: Error): void => {
    clearInterval(timer)
    // The last ACK is on its way before the socket is closed: with a lookup that answers at once, send is a system call.
    socket.close()
    if (error === undefined) resolve(bytes)
    else reject(error)
  }
  const timer = setInterval(() => {
    const nowMs = performance.now()
    if (nowMs - heardMs < silentMs) return
    if (nowMs - progressMs > giveUpMs) return end(new Error(`TFTP ${filename}: nothing for ${giveUpMs} ms`))
    heardMs = nowMs
    told = false
    if (server === undefined) socket.send(request, port, '127.0.0.1')
    else ack()
  }, silentMs / 4)
  const data = (packet: Buffer): void => {
    if (packet.readUInt16BE(2) !== ((received + 1) & 0xffff)) {
      if (!told) ack()
      told = true
      return
    }
    told = false
    received += 1
    inWindow += 1
    bytes += packet.length - 4
    progressMs = heardMs
    const isLast = packet.length - 4 < blockBytes
    if (isLast || inWindow === windowBlocks) ack()
    if (isLast) end()
  }
  socket.on('message', (packet: Buffer, from: RemoteInfo) => {
    server ??= from.port
    if (from.port !== server) return
    heardMs = performance.now()
    if (packet[1] === 3) return data(packet)
    const parsed = parsePacket(packet)
    if (parsed.op === 'error') end(new Error(`TFTP ${filename}: error ${parsed.code}, ${parsed.message}`))
    if (parsed.op !== 'oack') return
    blockBytes = Number(parsed.options.get('blksize') ?? 512)
    windowBlocks = Number(parsed.options.get('windowsize') ?? 1)
    if (received === 0) ack()
  })
  socket.on('error', end)
  socket.bind(0, localAddress, () => socket.send(request, port, '127.0.0.1'))
  return promise
}
