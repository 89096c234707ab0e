/**
 * Stands between a virtual machine's network card and its cable: every Ethernet frame that the machine sends comes by here. QEMU's
 * filter-redirector hands frames out on one socket and takes them back on another (net/filter-mirror.c), each behind its length
 * in 4 bytes, big-endian.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type OutgoingFrames = AsyncDisposable & {
  /** For QEMU, whose network device is called net0 and has no header of virtio's before its frames. */
  qemuArguments: string[][]
}

export function standBehindCard(change: (frame: Buffer) => Buffer): OutgoingFrames {
  const folder = mkdtempSync(join(tmpdir(), 'muster-frames-'))
  let back: Socket | undefined
  const waiting: Buffer[] = []
  const give = (frame: Buffer) => {
    const framed = Buffer.alloc(4 + frame.length)
    framed.writeUInt32BE(frame.length)
    framed.set(frame, 4)
    if (back === undefined) waiting.push(framed)
    else back.write(framed)
  }
  const path = (name: string) => join(folder, name)
  const servers = [
    listen(path('from-card'), (socket) => onFrames(socket, (frame) => give(change(frame)))),
    listen(path('to-cable'), (socket) => {
      back = socket
      for (const framed of waiting.splice(0)) socket.write(framed)
    }),
  ]
  return {
    qemuArguments: [
      ['-chardev', `socket,id=from-card,path=${path('from-card')}`],
      ['-chardev', `socket,id=to-cable,path=${path('to-cable')}`],
      // `rx`: what the cable receives from the card.
      ['-object', 'filter-redirector,id=frames,netdev=net0,queue=rx,outdev=from-card,indev=to-cable'],
    ],
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Bound when it returns: a name in a folder needs no lookup. */
function listen(path: string, accept: (socket: Socket) => void): Server {
  // QEMU's end is reset when it is killed.
  return createServer((socket) => accept(socket.on('error', () => {}))).listen(path)
}

function onFrames(socket: Socket, listener: (frame: Buffer) => void): void {
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE()) {
      const end = 4 + rest.readUInt32BE()
      listener(rest.subarray(4, end))
      rest = rest.subarray(end)
    }
  })
}
