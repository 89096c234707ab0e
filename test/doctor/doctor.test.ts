/** Prepared troubles: each is made, measured where it can be made here, and has to be named with its way out. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import type { Port } from '../../src/dhcp/engine.ts'
import { dgramEngine } from '../../src/dhcp/engines/dgram.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { type Offer, probeServers } from '../../src/dhcp/probe.ts'
import { createDhcpServer, dhcpPorts } from '../../src/dhcp/server.ts'
import type { Facts, Verdict } from '../../src/doctor/check.ts'
import { judgeClock } from '../../src/doctor/clock.ts'
import { judgeDisks } from '../../src/doctor/disk.ts'
import { type DoctorWorld, examine } from '../../src/doctor/doctor.ts'
import { judgeMetadata } from '../../src/doctor/metadata.ts'
import { judgeMtu } from '../../src/doctor/mtu.ts'
import { judgeNextServer } from '../../src/doctor/next-server.ts'
import { judgeOtherDhcp } from '../../src/doctor/other-dhcp.ts'
import { judgePrepared } from '../../src/doctor/prepared.ts'
import { judgeTftp, measureTftp } from '../../src/doctor/tftp-read.ts'
import { MusterError } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import { encodePacket, parsePacket } from '../../src/tftp/packet.ts'
import { startTftpServer } from '../../src/tftp/start.ts'
import { Segment } from '../dhcp/segment.ts'
import { poolOf, site } from '../dhcp/world.ts'

const nowMs = Date.parse('2026-06-01T08:00:00Z')
const facts: Facts & { roles: object } = {
  host: '10.9.0.1',
  own: ['10.9.0.1', '127.0.0.1'],
  firmwarePort: 8080,
  tftpPort: 69,
  blockBytes: 1468,
  dhcpMode: 'off',
  prepared: { agents: [{ arch: 'amd64', hardware: 'server' }], missing: [] },
  roles: [{ repository: 'main', role: 'timestamp', expires: '2026-06-02T00:00:00Z' }],
  syncFailures: [],
  folders: ['/'],
  clocks: [],
}

const offer = (server: string, more: Partial<Offer> = {}): Offer => ({
  ...{ server, address: '10.9.0.70', nextServer: server, file: '', muster: undefined },
  ...more,
})

/** `[status, what was found or why not, way out]`. */
const said = (verdict: Verdict): string[] =>
  verdict.status === 'ok'
    ? ['ok', verdict.found]
    : verdict.status === 'unknown'
      ? ['unknown', verdict.why]
      : ['trouble', verdict.found, verdict.wayOut]

const open: AsyncDisposable[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]()
})

/** DHCP servers on a segment of their own, asked as the doctor asks. */
async function askSegment(
  servers: { address: string; mode: 'proxy' | 'server'; tftpPort?: number }[],
): Promise<Offer[]> {
  const segment = new Segment()
  for (const [index, { address, mode, tftpPort = 69 }] of servers.entries()) {
    const { responder } = site({
      tftpPort,
      pools: poolOf({ range: `10.9.0.${50 + 10 * index}-10.9.0.${55 + 10 * index}` }),
    })
    const server = createDhcpServer({
      ...{ responder, mode, addresses: [address], limits: defaultDhcpLimits, log: silentLog },
      engine: segment.engine(address),
    })
    await server.listen()
    open.push(server)
  }
  return probeServers({
    ...{ engine: segment.engine('10.9.0.1'), address: '10.9.0.1', ports: dhcpPorts, waitMs: 20 },
    random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    ...{ vendorClass: 'PXEClient:Arch:00007:UNDI:003000', architecture: 7 },
    wait: (ms) => sleep(ms),
  })
}

describe('trouble 1: two DHCP servers on one segment', () => {
  test('ours and a router: the other one is named, and the modes that go with it', async () => {
    const offers = await askSegment([
      { address: '10.9.0.1', mode: 'server' },
      { address: '10.9.0.254', mode: 'server' },
    ])
    expect(said(judgeOtherDhcp(offers, { ...facts, dhcpMode: 'server' }))).toEqual([
      'trouble',
      'this server and 10.9.0.254 give addresses on one segment',
      'stop the other DHCP server, or set dhcp.mode to proxy (or auto, which steps back by itself)',
    ])
  })
  test('two of others, and none at all', () => {
    const two = said(judgeOtherDhcp([offer('10.9.0.253'), offer('10.9.0.254')], facts))
    expect(two[1]).toBe(
      '10.9.0.253 and 10.9.0.254 give addresses on one segment: machines take whichever is faster',
    )
    expect(said(judgeOtherDhcp([], facts))[2]).toContain('dhcp.mode server')
    expect(said(judgeOtherDhcp([], { ...facts, dhcpMode: 'server' }))[2]).toContain('dhcp.pools')
  })
  test('one server, or one with our proxy beside it, is as it should be', async () => {
    const offers = await askSegment([
      { address: '10.9.0.254', mode: 'server' },
      { address: '10.9.0.1', mode: 'proxy' },
    ])
    expect(said(judgeOtherDhcp(offers, { ...facts, dhcpMode: 'proxy' }))).toEqual([
      'ok',
      '10.9.0.254 gives addresses, and nobody else does',
    ])
  })
})

describe('trouble 2: firmware is sent to another server', () => {
  test('an old next-server is named with its file, and the way out is the lines for that server', () => {
    const offers = [offer('10.9.0.254', { nextServer: '10.9.0.99', file: 'pxelinux.0' })]
    expect(said(judgeNextServer(offers, facts))).toEqual([
      'trouble',
      '10.9.0.254 sends firmware to 10.9.0.99 for "pxelinux.0", not to 10.9.0.1',
      'set next-server and file there to what docs/dhcp.md says, with 10.9.0.1 for the address',
    ])
    expect(said(judgeNextServer(offers, { ...facts, dhcpMode: 'proxy' }))[2]).toContain(
      'take next-server and boot file out of that server',
    )
  })
  test('a URL counts by its host, and a next-server without a file is no answer', () => {
    const url = offer('10.9.0.254', { file: 'http://10.9.0.99:8080/boot/ipxe-amd64.efi' })
    expect(said(judgeNextServer([url], facts))[1]).toContain('sends firmware to 10.9.0.99')
    expect(said(judgeNextServer([offer('10.9.0.254', { nextServer: '10.9.0.254' })], facts))[1]).toBe(
      'nobody on this segment says what to boot',
    )
  })
  test('our own proxy says the right thing, and without TFTP at port 69 it says nothing', async () => {
    const right = await askSegment([{ address: '10.9.0.1', mode: 'proxy' }])
    expect(said(judgeNextServer(right, facts))).toEqual([
      'ok',
      'firmware is sent to 10.9.0.1 for "ipxe-amd64.efi"',
    ])
    const wrong = await askSegment([{ address: '10.9.0.1', mode: 'proxy', tftpPort: 6969 }])
    expect(said(judgeNextServer(wrong, { ...facts, dhcpMode: 'proxy' }))[2]).toContain(
      'its TFTP is not at port 69',
    )
  })
})

/** Something on loopback that takes TFTP requests and answers as `answer` says. */
async function tftpAt(
  answer: (filename: string, reply: (bytes: Uint8Array) => void) => void,
): Promise<number> {
  const port: Port = await dgramEngine.bind({
    host: '127.0.0.1',
    port: 0,
    onDatagram(bytes, from) {
      const packet = parsePacket(bytes)
      if (packet.op === 'read') answer(packet.filename, (reply) => port.send(reply, from))
    },
    onError() {},
  })
  open.push({ [Symbol.asyncDispose]: () => port.close() })
  return port.local.port
}

describe('trouble 3: TFTP does not come through', () => {
  test('a firewall that drops the replies of high ports: errors come, data does not', async () => {
    const port = await tftpAt((filename, reply) => {
      if (filename !== 'autoexec.ipxe')
        reply(encodePacket({ op: 'error', code: 1, message: 'file not found' }))
    })
    const measured = await measureTftp({ address: '127.0.0.1', port }, 150)
    const [status, found, wayOut] = said(judgeTftp(measured))
    expect([status, found]).toEqual([
      'trouble',
      `TFTP answers at 127.0.0.1:${port}, but no data comes: replies from ports of their own are dropped`,
    ])
    expect(wayOut).toContain('--network host')
  })
  test('nothing there, another server there, a NAT in between, a port that firmware does not know', async () => {
    const nothing = await measureTftp({ address: '127.0.0.1', port: 9 }, 100)
    expect(said(judgeTftp(nothing))[1]).toBe('nothing answers TFTP at 127.0.0.1:9')
    const foreign = await tftpAt((_, reply) => reply(encodePacket({ op: 'error', code: 1, message: 'no' })))
    expect(said(judgeTftp(await measureTftp({ address: '127.0.0.1', port: foreign }, 500)))[1]).toContain(
      'another TFTP server answers there',
    )
    const asked = { address: '10.9.0.1', port: 69 }
    const data = { op: 'oack' as const, from: { address: '172.17.0.2', port: 4000 } }
    expect(said(judgeTftp({ asked, missing: data, script: data }))[1]).toBe(
      'TFTP was asked at 10.9.0.1:69, and 172.17.0.2 answered: firmware drops that',
    )
  })
  test('our own server is read, and that port 69 is not its port is said', async () => {
    const server = await startTftpServer({
      engine: 'dgram',
      log: silentLog,
      open: async ({ filename }) => {
        if (filename !== 'autoexec.ipxe') throw new MusterError('file-not-found', 'no')
        return { size: 7, read: async () => Buffer.from('#!ipxe\n'), close: async () => {} }
      },
    })
    open.push(server)
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    const measured = await measureTftp({ address: '127.0.0.1', port }, 1000)
    expect(measured).toMatchObject({ missing: { op: 'error', from: { port } }, script: { op: 'oack' } })
    expect(said(judgeTftp(measured))[1]).toBe(
      `TFTP is at port ${port}, and PXE firmware knows no other than 69`,
    )
    const asked = { address: '127.0.0.1', port: 69 }
    expect(said(judgeTftp({ ...measured, asked }))[0]).toBe('ok')
  })
})

describe('trouble 4: the clock is off', () => {
  test.each([
    [2 * 3_600_000, 'the clock is 2 h ahead of that of mirror.example'],
    [-40 * 60_000, 'the clock is 40 min behind that of mirror.example'],
  ])('by %i ms', (offMs, found) => {
    const verdict = judgeClock({ nowMs: nowMs + offMs, source: 'mirror.example', theirsMs: nowMs })
    expect(said(verdict).slice(0, 2)).toEqual(['trouble', found])
    expect(said(verdict)[2]).toContain('timedatectl')
  })
  test('half a minute is none', () => {
    expect(judgeClock({ nowMs: nowMs + 30_000, source: 'mirror.example', theirsMs: nowMs }).status).toBe('ok')
  })
})

describe('trouble 5: signed metadata has expired', () => {
  test('what expired is named, and that no machine boots', () => {
    const roles = [...facts.roles, { repository: 'main', role: 'snapshot', expires: '2026-05-31T00:00:00Z' }]
    expect(said(judgeMetadata({ ...facts, roles }, nowMs)).slice(0, 2)).toEqual([
      'trouble',
      "expired, so no machine boots: main's snapshot (2026-05-31T00:00:00Z)",
    ])
  })
  test('a root that expires within a month is said in time, a timestamp that the server renews is not', () => {
    const root = { repository: 'main', role: 'root', expires: '2026-06-20T00:00:00Z' }
    expect(said(judgeMetadata({ ...facts, roles: [...facts.roles, root] }, nowMs))[1]).toBe(
      "expires soon: main's root (2026-06-20T00:00:00Z)",
    )
    expect(judgeMetadata(facts, nowMs).status).toBe('ok')
    expect(judgeMetadata({ ...facts, roles: [] }, nowMs).status).toBe('unknown')
    expect(said(judgeMetadata({ ...facts, roles: undefined }, nowMs))[1]).toBe(
      'no server runs that could say until when its metadata is valid',
    )
  })
})

describe('a follower that cannot follow', () => {
  test('is told why, and not that starting again would help', () => {
    const syncFailures = [
      { repository: 'main', upstream: 'http://up.example/tuf/main', reason: 'No answer.' },
    ]
    expect(said(judgeMetadata({ roles: [], syncFailures }, nowMs))).toEqual([
      'trouble',
      'main does not follow http://up.example/tuf/main: No answer.',
      expect.stringContaining('tries again by itself'),
    ])
    const missing = [{ what: 'release metadata', code: 'release-incomplete', reason: 'Nothing has come.' }]
    expect(said(judgePrepared({ prepared: { agents: [], missing } }))[2]).not.toContain(
      'start the server again',
    )
  })
})

describe('and what else stops a boot', () => {
  test('an MTU below a whole block names the setting that fits it', () => {
    expect(said(judgeMtu({ name: 'vlan7', mtuBytes: 1400 }, 1468))[2]).toBe(
      'set tftp.blockBytesMax to 1368, or the MTU back to 1500',
    )
    expect(judgeMtu({ name: 'eth0', mtuBytes: 1500 }, 1468).status).toBe('ok')
  })
  test('a full disk is named; a small one that is half empty is not', () => {
    const disk = (freeBytes: number, totalBytes: number) => [{ folder: '/srv/muster', freeBytes, totalBytes }]
    expect(said(judgeDisks(disk(5e8, 5e11)))[1]).toBe('almost full: /srv/muster (0.5 GB of 500.0 GB free)')
    expect(judgeDisks(disk(4e8, 8e8)).status).toBe('ok')
    expect(judgeDisks([]).status).toBe('unknown')
  })
})

describe('the whole examination', () => {
  /** An HTTP server on loopback that serves what machines load first, with a clock of its own. */
  async function httpAt(body: string, date: Date): Promise<number> {
    const server = createServer((_, response) => {
      response.sendDate = false
      response.setHeader('date', date.toUTCString())
      response.end(body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    open.push({ [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) })
    return (server.address() as AddressInfo).port
  }
  const world = (more: Partial<DoctorWorld> = {}): DoctorWorld => ({
    askDhcp: async () => [
      offer('10.9.0.254'),
      offer('127.0.0.1', { address: '0.0.0.0', file: 'ipxe-amd64.efi' }),
    ],
    ...{ fetch, now: () => nowMs, tftpWaitMs: 100 },
    ...more,
  })

  test('names every trouble at once, and what could not be checked', async () => {
    const port = await httpAt('#!ipxe\n', new Date(nowMs - 7_200_000))
    const found = await examine(
      {
        ...facts,
        host: '127.0.0.1',
        firmwarePort: port,
        tftpPort: undefined,
        clocks: ['http://127.0.0.1:1/', `http://127.0.0.1:${port}/`],
      },
      world({ askDhcp: () => Promise.reject(new MusterError('request-invalid', 'port 68 is taken')) }),
    )
    expect(found.map(({ check, verdict }) => [check, verdict.status])).toEqual([
      ['addresses', 'unknown'],
      ['next server', 'unknown'],
      ['agent', 'ok'],
      ['TFTP', 'unknown'],
      ['HTTP', 'ok'],
      ['block size', expect.any(String)],
      ['clock', 'trouble'],
      ['metadata', 'ok'],
      ['disks', expect.any(String)],
    ])
    expect(said(found[0]!.verdict)[1]).toBe('port 68 is taken')
    expect(said(found[6]!.verdict)[1]).toBe(`the clock is 2 h ahead of that of 127.0.0.1:${port}`)
  })

  test('a port where something else answers, and one where nobody does', async () => {
    const port = await httpAt('<html>nginx</html>', new Date(nowMs))
    const http = async (firmwarePort: number) =>
      said(
        (await examine({ ...facts, host: '127.0.0.1', firmwarePort, tftpPort: undefined }, world()))[4]!
          .verdict,
      )
    expect((await http(port))[1]).toContain('is answered by something else than Muster (status 200)')
    expect((await http(1))[1]).toContain('cannot be read')
  })
})

describe('what there is to boot', () => {
  const judge = (prepared: Facts['prepared']) => said(judgePrepared({ prepared }))
  const agents = [{ arch: 'amd64', hardware: 'server' }]
  const unreachable = { what: 'the boot agent', code: 'download-failed', reason: 'the mirror is away' }
  const making = { what: 'the boot agent', code: 'preparing', reason: 'It is being made.' }
  test('is trouble where something is missing, by its name and reason', () => {
    expect(judge({ agents: [], missing: [unreachable] })).toEqual([
      'trouble',
      'missing: the boot agent (the mirror is away); no agent is here, so no machine boots a verified image',
      expect.stringContaining('start the server again'),
    ])
  })
  test('is an agent of an earlier start, where a newer one could not be made: it is served, and machines boot', () => {
    const [status, found] = judge({ agents, missing: [{ ...unreachable, older: true }] })
    expect([status, found]).toEqual([
      'trouble',
      'could not be made anew: the boot agent (the mirror is away); the agent that is here is served: amd64 (server)',
    ])
  })
  test('is told to be on its way while it is made, with what is served until then', () => {
    expect(judge({ agents: [], missing: [making] })).toEqual([
      'trouble',
      'being made: the boot agent; until then no agent is here, so no machine boots a verified image',
      expect.stringContaining('wait for it'),
    ])
    expect(judge({ agents, missing: [{ ...making, older: true }] })).toEqual([
      'ok',
      'being made again: the boot agent; until then the agent that is here is served: amd64 (server)',
    ])
  })
  test('is trouble where there is no agent and nothing is missing that anybody would make', () => {
    expect(judge({ agents: [], missing: [] })).toEqual([
      'trouble',
      'no agent is here and none is being made, so no machine boots a verified image',
      expect.stringContaining('image.prepare: true'),
    ])
  })
  test('says so when the agent has the drivers of virtual machines only', () => {
    expect(judge({ agents: [{ arch: 'amd64', hardware: 'virtual' }], missing: [] })[1]).toContain(
      'image.hardware: server',
    )
    expect(judge({ agents, missing: [] })[1]).toBe('the agent is made for amd64 (server)')
  })
  test('is not known without a server', () => {
    expect(judge(undefined)[0]).toBe('unknown')
  })
})
