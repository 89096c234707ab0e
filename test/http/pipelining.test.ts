/** One client sends the next requests before it has read a reply. */
import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { answerOneByOne } from '../../src/http/pipelining.ts'

/** A server whose replies are ended by hand, and one connection to it. */
async function world() {
  const asked: { url: string; response: ServerResponse }[] = []
  const server: Server = createServer((request, response) => {
    asked.push({ url: request.url ?? '', response })
  })
  answerOneByOne(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  let replies = ''
  socket.on('data', (bytes: Buffer) => {
    replies += bytes.toString()
  })
  onTestFinished(() => {
    socket.destroy()
    server.closeAllConnections()
    server.close()
  })
  return {
    asked,
    send: (urls: string[], body = '') =>
      socket.write(
        urls
          .map(
            (url) =>
              `${body ? 'POST' : 'GET'} ${url} HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
          )
          .join(''),
      ),
    closed: once(socket, 'close'),
    replies: () => replies,
    isClosed: () => socket.destroyed,
  }
}

const urls = (count: number) => Array.from({ length: count }, (_, index) => `/${index}`)

test('a handler sees the next request when the reply before it is over, and all are answered in order', async () => {
  const { asked, send, replies } = await world()
  send(urls(5))
  for (let count = 1; count <= 5; count += 1) {
    await expect.poll(() => asked.length).toBe(count)
    // Long enough for the others to come, if they would.
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(asked).toHaveLength(count)
    asked.at(-1)?.response.end(`reply ${count - 1};`)
  }
  await expect.poll(replies).toMatch(/reply 0;[\s\S]*reply 1;[\s\S]*reply 2;[\s\S]*reply 3;[\s\S]*reply 4;$/)
})

test('bodies of those that wait are there when it is their turn', async () => {
  const { asked, send } = await world()
  send(urls(3), 'x'.repeat(100_000))
  for (let count = 1; count <= 3; count += 1) {
    await expect.poll(() => asked.length).toBe(count)
    const { response } = asked.at(-1) as (typeof asked)[number]
    let bytes = 0
    for await (const chunk of response.req) bytes += (chunk as Buffer).length
    expect(bytes).toBe(100_000)
    response.end()
  }
})

test('a client that sends a thousand and reads nothing costs one, and is cut off', async () => {
  const { asked, send, closed } = await world()
  send(urls(1000))
  await closed
  expect(asked).toHaveLength(1)
})

test('a client that leaves takes its waiting requests with it', async () => {
  const { asked, send } = await world()
  send(urls(3))
  await expect.poll(() => asked.length).toBe(1)
  asked[0]?.response.destroy()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(asked).toHaveLength(1)
})

test('a connection that was idle between takes any number of requests', async () => {
  const { asked, send, isClosed } = await world()
  for (let count = 1; count <= 40; count += 1) {
    send(['/again'])
    await expect.poll(() => asked.length).toBe(count)
    asked.at(-1)?.response.end()
    await once(asked.at(-1)?.response as ServerResponse, 'close')
  }
  expect(isClosed()).toBe(false)
})
