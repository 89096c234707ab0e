import { describe, expect, test } from 'vitest'
import { serversToAsk } from '../../src/agent/servers.ts'
import { World } from './world.ts'

const settings = (servers: string[], serverPort?: number) => ({
  servers,
  config: { ...new World().config, ...(serverPort === undefined ? {} : { serverPort }) },
})

describe('whom an agent asks', () => {
  test('the servers that were named, then the hosts of its lease, each once', () => {
    const named = ['https://192.0.2.1:8443', 'https://192.0.2.2:8443']
    expect(serversToAsk(settings(named, 8443), ['192.0.2.2', '192.0.2.9'])).toEqual([
      ...named,
      'https://192.0.2.9:8443',
    ])
  })

  test('the one of the round before last, wherever it stands', () => {
    const [one, two] = ['https://192.0.2.1:8443', 'https://192.0.2.2:8443']
    expect(serversToAsk(settings([one, two]), [], one)).toEqual([two, one])
    expect(serversToAsk(settings([one, two]), [], two)).toEqual([one, two])
    expect(serversToAsk(settings([one]), [], one)).toEqual([one])
    expect(serversToAsk(settings([one]), [], two)).toEqual([one])
  })

  test('no host of a lease where its builder gave no port for them', () => {
    expect(serversToAsk(settings(['https://192.0.2.1:8443']), ['192.0.2.9'])).toEqual([
      'https://192.0.2.1:8443',
    ])
  })

  test('nobody, when nobody was named: the sentence says who could', () => {
    expect(() => serversToAsk(settings([], 8443), [])).toThrow(
      expect.objectContaining({ code: 'server-unreachable', message: expect.stringContaining('advertise') }),
    )
  })
})
