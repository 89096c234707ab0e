/** The lines that docs/dhcp.md gives to other DHCP servers, judged by those servers, and all of them saying the same. */
import { execFile, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodePacket, latin1Text, parsePacket } from '../../src/dhcp/packet.ts'
import { dnsmasqLines } from '../../src/setup/greeting.ts'
import { vector } from '../dhcp/world.ts'
import { skipReason, tool } from '../support/tools.ts'

const execute = promisify(execFile)

let folder: string
/** The code block under each heading of "Lines for your DHCP server". */
let lines: Record<'dnsmasq' | 'isc' | 'kea', string>
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-dhcp-lines-'))
  const document = await readFile(join(import.meta.dirname, '../../docs/dhcp.md'), 'utf8')
  const under = (heading: string) => {
    const section = document.split(/^### /m).find((one) => one.startsWith(heading)) ?? ''
    return /```[a-z]*\n([\s\S]*?)```/.exec(section)?.[1] ?? ''
  }
  lines = { dnsmasq: under('dnsmasq'), isc: under('ISC dhcpd'), kea: under('Kea') }
})
afterAll(() => rm(folder, { recursive: true }))

const write = async (name: string, text: string) => {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}
describe.each(['dnsmasq', 'isc', 'kea'] as const)('the lines for %s', (server) => {
  test('have a file for every firmware that Muster has one for', () => {
    const files = [...lines[server].matchAll(/[a-z0-9:/.-]+\.(?:kpxe|efi|ipxe|uimg)\b/g)].map(
      ([file]) => file,
    )
    expect(files.sort()).toEqual([
      'agent-arm64.efi',
      'boot.scr.uimg',
      'http://192.0.2.1:8080/boot/agent-amd64.efi',
      'http://192.0.2.1:8080/boot/agent-arm64.efi',
      'http://192.0.2.1:8080/boot/autoexec.ipxe',
      'ipxe-amd64.efi',
      'ipxe-arm64.efi',
      'undionly.kpxe',
    ])
  })
  test('name each architecture, and answer HTTP Boot in its own vendor class', () => {
    const found = [
      ...lines[server].matchAll(/(?:client-arch(?:,| = )|== )(0x[0-9a-f]{4}\b|[0-9a-f]{2}:[0-9a-f]{2}|\d+)/g),
    ]
    // RFC 4578 §2.1 and IANA's registry of processor architecture types.
    const numbers = found.map(([, number = '']) => Number(number.replace(/^(..):(..)$/, '0x$1$2')))
    expect([...new Set(numbers)].sort((one, other) => one - other)).toEqual([0, 7, 9, 11, 16, 19, 22])
    expect(lines[server].match(/HTTPClient/g)).toHaveLength(2)
  })
})

test('the lines for dnsmasq are the ones that the first start prints', () => {
  expect(lines.dnsmasq).toBe(
    dnsmasqLines('192.0.2.1', 8080)
      .map((line) => `${line}\n`)
      .join(''),
  )
})

/** Each server with these lines and a network to give addresses in: how its program judges a configuration, and how it runs. */
const servers = {
  dnsmasq: {
    configuration: () =>
      `${lines.dnsmasq}dhcp-range=192.0.2.100,192.0.2.199,1h\nno-ping\nport=0\nuser=root\npid-file=${folder}/pid\ndhcp-leasefile=${folder}/leases\n`,
    wrong: (text: string) => text.replaceAll('dhcp-boot', 'dhcp-boott'),
    judge: (file: string) => ['--test', `--conf-file=${file}`],
    serve: (file: string) => ['--keep-in-foreground', `--conf-file=${file}`],
  },
  dhcpd: {
    configuration: () =>
      `${lines.isc}ping-check off;\nsubnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.100 192.0.2.199; }\n`,
    wrong: (text: string) => text.replace('elsif', 'elseif'),
    judge: (file: string) => ['-4', '-t', '-cf', file],
    serve: (file: string) => [
      '-4',
      '-f',
      '-cf',
      file,
      '-lf',
      join(folder, 'dhcpd.leases'),
      '-pf',
      join(folder, 'pid'),
    ],
  },
  'kea-dhcp4': {
    configuration: () =>
      JSON.stringify({
        Dhcp4: {
          'interfaces-config': { interfaces: ['*'], 'dhcp-socket-type': 'udp' },
          'lease-database': { type: 'memfile', persist: false },
          subnet4: [{ id: 1, subnet: '192.0.2.0/24', pools: [{ pool: '192.0.2.100 - 192.0.2.199' }] }],
          'client-classes': JSON.parse(lines.kea) as unknown,
        },
      }),
    wrong: (text: string) => text.replace('option[93].hex', 'option[93].hexx'),
    judge: (file: string) => ['-t', file],
    serve: (file: string) => ['-c', file],
  },
} as const

/** A namespace with the server at 192.0.2.1 and one beside it, where a relay agent at 192.0.2.2 asks for firmware. */
const ip = tool('ip')
const canMakeNetworks = ip !== undefined && process.getuid?.() === 0

/** Sends each packet (hexadecimal) until its answer comes, and prints the answers. */
const relayAgent = `
const socket = require('node:dgram').createSocket('udp4')
const packets = process.argv.slice(1).map((text) => Buffer.from(text, 'hex'))
const send = () => socket.send(packets[0], 67, '192.0.2.1')
socket.on('message', (answer) => {
  if (answer.readUInt32BE(4) !== packets[0].readUInt32BE(4)) return
  console.log(answer.toString('hex'))
  packets.shift()
  if (packets.length === 0) process.exit(0)
  send()
})
socket.bind(67, '192.0.2.2', send)
setInterval(send, 250)
`

const firmware = [
  ['a BIOS', 0, 'PXEClient', 'undionly.kpxe'],
  ['UEFI x64', 7, 'PXEClient', 'ipxe-amd64.efi'],
  ['UEFI x64 by its other number', 9, 'PXEClient', 'ipxe-amd64.efi'],
  ['UEFI arm64', 11, 'PXEClient', 'ipxe-arm64.efi'],
  ["U-Boot's UEFI, arm64", 11, 'U-Boot', 'agent-arm64.efi'],
  ['U-Boot, arm64', 22, 'U-Boot', 'boot.scr.uimg'],
  ['HTTP Boot x64', 16, 'HTTPClient', 'http://192.0.2.1:8080/boot/agent-amd64.efi'],
  ['HTTP Boot arm64', 19, 'HTTPClient', 'http://192.0.2.1:8080/boot/agent-arm64.efi'],
  ['iPXE on UEFI x64', 7, 'iPXE', 'http://192.0.2.1:8080/boot/autoexec.ipxe'],
] as const

/** As EDK2 asks (test/vectors/dhcp/ovmf-http), with the architecture and class of others. */
function discoverOf(index: number): Uint8Array {
  const [, architecture, vendor] = firmware[index]!
  const captured = vector('ovmf-http-2-67-type1')
  const vendorClass = `${vendor === 'HTTPClient' ? vendor : 'PXEClient'}:Arch:000${String(architecture).padStart(2, '0')}:UNDI:003000`
  const options = new Map([
    ...captured.options,
    [93, Uint8Array.of(0, architecture)],
    [60, Buffer.from(vendorClass)],
    ...(vendor === 'U-Boot' ? [[94, Uint8Array.of(1, 0, 0)] as const] : []),
    ...(vendor === 'iPXE' ? [[175, Uint8Array.of(177, 1, 1)] as const] : []),
  ])
  const chaddr = Uint8Array.of(0x52, 0x54, 0, 0, 0, index)
  return encodePacket({ ...captured, xid: 0x1000 + index, giaddr: '192.0.2.2', chaddr, options }, 1500)
}

describe.each(Object.keys(servers) as (keyof typeof servers)[])('%s itself', (name) => {
  const program = tool(name)
  const why = program === undefined ? ` (${skipReason(name)})` : ''
  const { configuration, judge, serve, wrong } = servers[name]
  const env = () => ({ ...process.env, KEA_LOCKFILE_DIR: folder, KEA_PIDFILE_DIR: folder })

  test.skipIf(program === undefined)(`takes the lines${why}, and refuses a slip in them`, async () => {
    const right = await write(`${name}.conf`, configuration())
    await execute(program!, judge(right), { env: env() })
    const slip = await write(`${name}-slip.conf`, wrong(configuration()))
    await expect(execute(program!, judge(slip), { env: env() })).rejects.toThrow('Command failed')
  })

  test.skipIf(program === undefined || !canMakeNetworks)(
    `gives every firmware its file by them${why}`,
    { timeout: 60_000 },
    async () => {
      await using network = await makeNetwork(ip!)
      const file = await write(`${name}-run.conf`, configuration())
      await writeFile(join(folder, 'dhcpd.leases'), '')
      const command = ['netns', 'exec', network.server, program!, ...serve(file)]
      const child = spawn(ip!, command, { stdio: 'ignore', env: env() })
      const ended = once(child, 'exit')
      try {
        const packets = firmware.map((_, index) => Buffer.from(discoverOf(index)).toString('hex'))
        const asking = ['netns', 'exec', network.client, process.execPath, '-e', relayAgent, ...packets]
        const { stdout } = await execute(ip!, asking, { timeout: 30_000 })
        const answers = stdout
          .trim()
          .split('\n')
          .map((text) => parsePacket(Buffer.from(text, 'hex')))
        const given = answers.map(({ file, options }, index) => {
          const text = (code: number) => latin1Text(options.get(code) ?? new Uint8Array()).replace(/\0+$/, '')
          return [firmware[index]?.[0], text(67) || file, text(60)]
        })
        expect(given).toEqual(
          firmware.map(([who, , vendor, wanted]) => [who, wanted, vendor === 'HTTPClient' ? vendor : '']),
        )
        // Where TFTP is asked: the header's next server.
        const [bios, uefi] = answers
        expect([bios?.siaddr, uefi?.siaddr]).toEqual(['192.0.2.1', '192.0.2.1'])
      } finally {
        child.kill('SIGKILL')
        await ended
      }
    },
  )
})

async function makeNetwork(ip: string): Promise<AsyncDisposable & { server: string; client: string }> {
  const id = `${process.pid}${randomInt(1000)}`
  const [server, client] = [`muster-s${id}`, `muster-c${id}`]
  await using stack = new AsyncDisposableStack()
  for (const namespace of [server, client]) {
    await execute(ip, ['netns', 'add', namespace])
    stack.defer(async () => void (await execute(ip, ['netns', 'delete', namespace])))
  }
  await execute(ip, [
    '-n',
    server,
    'link',
    'add',
    'wire',
    'type',
    'veth',
    'peer',
    'name',
    'wire',
    'netns',
    client,
  ])
  for (const [namespace, address] of [
    [server, '192.0.2.1/24'],
    [client, '192.0.2.2/24'],
  ] as const) {
    await execute(ip, ['-n', namespace, 'addr', 'add', address, 'dev', 'wire'])
    await execute(ip, ['-n', namespace, 'link', 'set', 'wire', 'up'])
  }
  const made = stack.move()
  return { server, client, [Symbol.asyncDispose]: () => made.disposeAsync() }
}
