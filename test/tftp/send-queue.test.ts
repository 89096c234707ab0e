import { describe, expect, test } from 'vitest'
import { SendQueue } from '../../src/tftp/send-queue.ts'

describe('whose blocks go out next', () => {
  test('clients take turns, however many transfers one has', () => {
    const queue = new SendQueue<string>()
    for (const transfer of ['a1', 'a2', 'a3', 'a4']) queue.add('a', transfer)
    queue.add('b', 'b1')
    queue.add('c', 'c1')
    const sent: string[] = []
    queue.drain(1000, (transfer) => sent.push(transfer))
    expect(sent).toEqual(['a1', 'b1', 'c1', 'a2', 'a3', 'a4'])
    expect(queue.clients).toBe(0)
  })

  test('every client has a turn before the next look at what arrived, and what is too much waits', () => {
    const queue = new SendQueue<string>()
    for (const client of ['a', 'b', 'c']) for (const number of [1, 2]) queue.add(client, `${client}${number}`)
    const sent: string[] = []
    const send = (transfer: string) => {
      sent.push(transfer)
      return 16
    }
    queue.drain(32, send)
    expect(sent).toEqual(['a1', 'b1', 'c1'])
    queue.add('d', 'd1')
    queue.drain(32, send)
    expect(sent.slice(3)).toEqual(['a2', 'b2', 'c2', 'd1'])
  })

  test('a neighbour gets as many windows as a client with sixteen transfers, where the network is the bound', () => {
    const queue = new SendQueue<string>()
    const windows: Record<string, number> = { greedy: 0, neighbour: 0 }
    for (let transfer = 0; transfer < 16; transfer += 1) queue.add('greedy', 'greedy')
    queue.add('neighbour', 'neighbour')
    for (let turn = 0; turn < 1000; turn += 1) {
      const answers: string[] = []
      // Two windows a turn are all that goes out; each is acknowledged by the next one.
      queue.drain(32, (client) => {
        windows[client] = (windows[client] ?? 0) + 1
        answers.push(client)
        return 16
      })
      for (const client of answers) queue.add(client, client)
    }
    expect(windows).toEqual({ greedy: 1000, neighbour: 1000 })
  })

  test('a transfer that has nothing to send any more costs no turn without end', () => {
    const queue = new SendQueue<string>()
    queue.add('a', 'ended')
    queue.drain(64, () => 0)
    expect(queue.clients).toBe(0)
  })
})
