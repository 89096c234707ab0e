/** Every exchange that a released agent ever had, over TLS against the whole of today's server. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { BootWithConsole } from '../../src/http/admin-boots.ts'
import { type HelloReply, helloReply } from '../../src/protocol/hello.ts'
import { planReply } from '../../src/protocol/plan.ts'
import { createAgentClient, json, planOf, reportFileOf } from '../support/agent-client.ts'
import { bytesOfId, readRecorded, recordedVersions } from '../support/recorded.ts'
import { publishTiny, startServer } from '../support/server.ts'

const versions = recordedVersions()

test('the first protocol is among them', () => {
  expect(versions).toContain('v1')
})

for (const version of versions) {
  test(`an agent of protocol ${version} is answered as the server of its day did`, async () => {
    const { server: given, requests } = readRecorded(version)
    const data = await mkdtemp(join(tmpdir(), 'muster-recorded-'))
    try {
      await mkdir(join(data, 'keys'))
      await writeFile(join(data, 'keys/agent-plane.key.pem'), given.tls.key)
      await writeFile(join(data, 'keys/agent-plane.cert.pem'), given.tls.certificate)
      const draws = [given.machine, ...given.boots].map(bytesOfId)
      await using server = await startServer({
        data,
        random: () => draws.shift() as Buffer,
        settings: { 'enrolment.mode': 'ask' },
      })
      await publishTiny(server, 'hello/1.0.0')
      const profile = { name: 'all', selector: {}, image: { name: 'hello', channel: 'stable' } }
      await server.api.call({ method: 'PUT', path: '/profiles/all', body: profile })
      using client = createAgentClient({ port: server.running.ports.agent })

      const statuses: string[] = []
      for (const { path, headers, body, helloDigest } of requests) {
        const reply = await client.post(path, Buffer.from(body), headers)
        const what = path.split('/').at(-1) as string
        if (what === 'hello') {
          const answer: HelloReply = helloReply.parse(json(reply))
          expect([answer.machine, given.boots.includes(answer.boot)]).toEqual([given.machine, true])
          // Its bytes again, because the first answer was lost, open no second boot.
          expect(json(await client.post(path, Buffer.from(body), headers))).toEqual(answer)
        } else if (what === 'plan') {
          const answer = planReply.parse(json(reply))
          statuses.push(answer.status)
          if (answer.status === 'wait') {
            await server.api.call({ method: 'POST', path: `/machines/${given.machine}/approve` })
            continue
          }
          const plan = planOf(answer)
          const boot = path.split('/').at(-2) as string
          const own = requests.filter((one) => one.helloDigest !== undefined)[given.boots.indexOf(boot)]
          expect(plan).toMatchObject({
            machine: given.machine,
            boot,
            target: 'hello/1.0.0/amd64',
            nonce: (JSON.parse(own?.body as string) as { nonce: string }).nonce,
            hello: own?.helloDigest,
          })
          expect(reportFileOf(plan).pin).toBe(server.running.tls.pin)
        } else expect([what, reply.status, reply.body.length]).toEqual([what, 204, 0])
        expect(helloDigest === undefined).toBe(what !== 'hello')
      }
      expect(statuses).toEqual(['wait', 'boot', 'boot'])
      const boots = await Promise.all(
        given.boots.map((boot) =>
          server.api.call<BootWithConsole>({ method: 'GET', path: `/boots/${boot}` }),
        ),
      )
      expect(boots.map(({ outcome }) => outcome)).toEqual(['refused', 'joined'])
      expect(boots[0]?.console).toContain('muster: refused: blob-digest')
    } finally {
      await rm(data, { recursive: true, force: true })
    }
  })
}
