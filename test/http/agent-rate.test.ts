/** Requests on the agent plane are counted by where they come from: a neighbour's flood is his own. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { type AgentDeciders, createAgentPlane } from '../../src/http/agent.ts'
import { loadTlsIdentity } from '../../src/http/tls.ts'
import { silentLog } from '../../src/log.ts'

const requestsPerMinuteMax = 10

/** Statuses of so many requests from one address. */
async function ask(): Promise<AsyncDisposable & { from(address: string, count: number): Promise<number[]> }> {
  const folder = await mkdtemp(join(tmpdir(), 'muster-agent-rate-'))
  const app = await createAgentPlane({
    tls: await loadTlsIdentity(folder),
    limits: { ...loadConfig({ env: {} }).config.agent, requestsPerMinuteMax },
    deciders: {} as AgentDeciders,
    log: silentLog,
  })
  return {
    async from(remoteAddress, count) {
      const statuses: number[] = []
      for (let request = 0; request < count; request++) {
        const url = '/agent/v1/report'
        statuses.push((await app.inject({ method: 'POST', url, remoteAddress, payload: '{}' })).statusCode)
      }
      return statuses
    },
    async [Symbol.asyncDispose]() {
      await app.close()
      await rm(folder, { recursive: true })
    },
  }
}

describe('a flood from one address', () => {
  test.each([
    ['IPv4', '192.0.2.66', '192.0.2.7'],
    ['one IPv6 network', '2001:db8:1:2::bad', '2001:db8:1:2::7'],
    ['one link', 'fe80::bad%eth0', 'fe80::7%eth0'],
  ])('is refused, and its neighbour of %s is heard', async (_, flood, neighbour) => {
    await using plane = await ask()
    const statuses = await plane.from(flood, 600)
    expect(statuses.slice(0, requestsPerMinuteMax)).not.toContain(429)
    expect(statuses.at(-1)).toBe(429)
    expect(await plane.from(neighbour, 1)).toEqual([403])
  })

  test('of a whole IPv6 network is bounded too', async () => {
    await using plane = await ask()
    for (let host = 1; host <= 8; host++) await plane.from(`2001:db8:1:2::${host}`, requestsPerMinuteMax)
    expect(await plane.from('2001:db8:1:2::99', 1)).toEqual([429])
    expect(await plane.from('2001:db8:1:3::1', 1)).toEqual([403])
  })
})
