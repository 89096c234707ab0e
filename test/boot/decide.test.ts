import { expect, test } from 'vitest'
import { createPlanner, type PlannerOptions } from '../../src/boot/decide.ts'
import { createSigner, generatePrivateKey } from '../../src/signing/keys.ts'

/** One state of the releases: what its channel names, and the version of its timestamp. */
function catalog(version: string, timestamp: number) {
  const target = { path: `edge/${version}/amd64`, sha256: `${timestamp}`.repeat(64) }
  const release = { arch: 'amd64', custom: { kind: 'artifact', hardwareIds: [], minAgent: '0.0.0' } }
  return { resolve: () => ({ target, release, floor: 0, because: [] }), trusted: { versions: { timestamp } } }
}

test('a plan names the release and the timestamp of one state, also when a newer one comes in meanwhile', async () => {
  let now = catalog('1.0', 3)
  const boot = {
    id: 'b-aaaaaaaaaaaaaaaa',
    nonce: 'ab'.repeat(32),
    helloDigest: 'cd'.repeat(32),
    arch: 'amd64',
    agentVersion: '0.1.0',
    hello: { hardwareIds: [] },
  }
  const profile = { name: 'rack', image: { name: 'edge', channel: 'stable' }, cluster: 'c', arguments: [] }
  const options = {
    machines: {
      eligibility: async () => ({
        machine: { id: 'm-aaaaaaaaaaaaaaaa' },
        boot,
        eligibility: { status: 'boot', profile, because: [] },
      }),
      reportToken: () => 'token',
      recordPlan: async () => {},
    },
    releases: {
      catalog: () => now,
      expired: () => undefined,
      planSigner: () => createSigner(generatePrivateKey()),
      repository: 'main',
    },
    async joinFiles() {
      // Just then a sync ends.
      now = catalog('2.0', 4)
      return []
    },
    pin: `sha256//${Buffer.alloc(32).toString('base64')}`,
    now: () => new Date('2026-06-01T12:00:00Z'),
    limits: { planSeconds: 600, pollSeconds: 5 },
  }
  const planner = createPlanner(options as unknown as PlannerOptions)
  const reply = await planner.planFor(boot.id, 'https://192.0.2.1:8443')
  if (reply.status !== 'boot') throw new Error(JSON.stringify(reply))
  const plan = JSON.parse(Buffer.from(reply.envelope.payload, 'base64').toString())
  expect([plan.target, plan.minTimestampVersion]).toEqual(['edge/1.0/amd64', 3])
})
