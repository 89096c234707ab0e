/** What is given for a name, to whom, and what is remembered of it. */
import { describe, expect, test } from 'vitest'
import { parseScriptImage } from '../../src/boot/formats/legacy-image.ts'
import { noSuchFile } from '../../src/doctor/tftp-read.ts'
import { createSourceWorld } from './world.ts'

const mac = '52:54:00:12:34:56'
const named = '52-54-00-12-34-56'
const uuid = '4c4c4544-0042-3510-8054-b4c04f4d3132'
const lab = {
  name: 'lab',
  unverified: true,
  files: { kernel: 'vmlinuz', initrd: ['a.img'] },
}

describe('the same answer in every language', () => {
  test.each([
    ['agent', {}, 'agent/arm64/kernel'],
    ['skip', { skip: 'rack-7 is retired' }, 'rack-7 is retired'],
    ['unverified', { profile: lab }, 'files/vmlinuz'],
  ])('%s', async (_, machine, expected) => {
    const world = createSourceWorld({ machines: [{ name: 'rack-7', mac, arch: 'arm64', ...machine }] })
    const [commands] = parseScriptImage(await world.bytes(`u-boot/arm/armv8/${named}.scr.uimg`))
    const answers = [
      await world.source.ipxe({ mac: named, buildarch: 'arm64' }, world.client),
      await world.text(`grub/arm64/grub.cfg-01-${mac}`),
      await world.text(`pxelinux.cfg/01-${named}`),
      Buffer.from(commands ?? []).toString(),
    ]
    for (const answer of answers) expect(answer).toContain(expected)
  })

  test('a machine that nobody knows starts the agent, which asks for it', async () => {
    const world = createSourceWorld()
    expect(await world.text(`pxelinux.cfg/01-${named}`)).toContain(
      'SAY Muster: 52:54:00:12:34:56 is new here',
    )
  })

  test('whoever does not say who it is starts the agent too', async () => {
    const world = createSourceWorld()
    expect(await world.text('pxelinux.cfg/default-arm')).toContain('LINUX agent/arm64/kernel')
    expect(await world.text('grub/x86_64/agent.cfg')).toContain('$prefix/agent/amd64/kernel')
  })

  test('a UUID is answered when it is a known machine’s; else the MAC address is asked for next', async () => {
    const world = createSourceWorld({ machines: [{ name: 'rack-7', uuid, skip: 'rack-7 is retired' }] })
    expect(await world.text(`pxelinux.cfg/${uuid}`)).toContain('LOCALBOOT -1')
    const other = '5c4c4544-0042-3510-8054-b4c04f4d3132'
    for (const name of [`pxelinux.cfg/${other}`, `grub.cfg-${other}`])
      await expect(world.text(name)).rejects.toMatchObject({ code: 'file-not-found' })
    expect(world.unknown.list()).toEqual([])
  })

  test('without an agent for it a machine goes on, and is told why', async () => {
    const world = createSourceWorld({ agents: ['amd64'] })
    expect(await world.text(`arm64/pxelinux.cfg/01-${named}`)).toContain('no agent for arm64 yet')
    const [commands] = parseScriptImage(await world.bytes(`u-boot/arm/armv7/${named}.scr.uimg`))
    expect(Buffer.from(commands ?? []).toString()).toContain('there is no agent for arm/armv7')
  })

  test('a name without an architecture means that of the record, else of the agent that is here', async () => {
    const known = createSourceWorld({ machines: [{ name: 'rack-7', mac, arch: 'arm64' }] })
    expect(await known.text(`pxelinux.cfg/01-${named}`)).toContain('agent/arm64/')
    const arm = createSourceWorld({ agents: ['arm64'] })
    expect(await arm.text(`pxelinux.cfg/01-${named}`)).toContain('agent/arm64/')
    expect(await createSourceWorld().text(`pxelinux.cfg/01-${named}`)).toContain('agent/amd64/')
  })
})

describe('iPXE', () => {
  test('is sent back to the server that it came from, by TFTP under the name that it knows it by', async () => {
    const world = createSourceWorld()
    expect(await world.text('autoexec.ipxe')).toContain(`set muster-base http://\${next-server}:8080/boot/\n`)
    expect(await world.text('autoexec.ipxe', { over: 'http' })).toContain('set muster-base \n')
    const advertised = createSourceWorld({ advertise: 'boot.example.net' })
    expect(await advertised.text('autoexec.ipxe')).toContain(
      'set muster-base http://boot.example.net:8080/boot/',
    )
  })
  test.each(['constructor', '__proto__', 'toString', 'riscv64', '../../keys', ['x86_64', 'x86_64']])(
    'an architecture called %j finds no agent',
    async (buildarch) => {
      const world = createSourceWorld()
      const script = await world.source.ipxe({ mac, buildarch }, world.client)
      expect(script).toContain('echo Muster: there is no agent for')
      expect(script).not.toContain('kernel')
    },
  )
  test('a profile’s menu comes first, and its choice is heeded', async () => {
    const profile = { name: 'lab', image: { name: 'edge', channel: 'stable' }, menu: true as const }
    const world = createSourceWorld({ machines: [{ name: 'rack-7', mac, profile }] })
    expect(await world.source.ipxe({ mac }, world.client)).toContain('choose --default boot --timeout 10000')
    expect(await world.source.ipxe({ mac, choice: 'boot' }, world.client)).toContain(
      'kernel agent/amd64/kernel',
    )
    expect(await world.source.ipxe({ mac, choice: 'rm -rf' }, world.client)).toContain('choose --default')
  })
  test('a machine without a MAC address goes on', async () => {
    const world = createSourceWorld()
    expect(await world.source.ipxe({ uuid }, world.client)).toContain('did not say its MAC address')
  })
})

describe('a server with peers', () => {
  const peers = [
    { agent: 'https://192.0.2.2:8443', firmware: 'http://192.0.2.2:8080' },
    { agent: 'https://192.0.2.3:8443' },
  ]
  test('tells every firmware all agent planes, its own first', async () => {
    const world = createSourceWorld({ peers })
    const all = 'muster.server=https://192.0.2.1:8443,https://192.0.2.2:8443,https://192.0.2.3:8443 '
    expect(await world.source.ipxe({ mac }, world.client)).toContain(all)
    for (const name of [`pxelinux.cfg/01-${named}`, `grub/grub.cfg-01-${named}`])
      expect(await world.text(name)).toContain(all)
  })
  test('sends iPXE on to those that have a firmware plane', async () => {
    const world = createSourceWorld({ peers })
    for (const script of [
      await world.text('autoexec.ipxe'),
      await world.source.ipxe({ mac }, world.client),
    ]) {
      expect(script).toContain('|| chain --replace http://192.0.2.2:8080/boot/autoexec.ipxe || goto failed')
      expect(script).not.toContain('http://192.0.2.3')
    }
  })
})

describe('a machine that came over IPv6', () => {
  const ipv6 = { address: '2001:db8::7', serverAddress: '2001:db8::1' }
  test('is told the IPv6 address that it reached, in brackets, in every language', async () => {
    const world = createSourceWorld()
    const server = ' muster.server=https://[2001:db8::1]:8443 '
    for (const name of [`pxelinux.cfg/01-${named}`, `grub/grub.cfg-01-${named}`])
      expect(await world.text(name, ipv6)).toContain(server)
    expect(await world.source.ipxe({ mac }, { ...world.client, ...ipv6 })).toContain(server)
  })
  test('by TFTP: iPXE, whose next-server is an IPv4 address, is named the server it reached', async () => {
    const world = createSourceWorld()
    expect(await world.text('autoexec.ipxe', ipv6)).toContain(
      'set muster-base http://[2001:db8::1]:8080/boot/\n',
    )
    expect(await world.text('autoexec.ipxe')).toContain(`set muster-base http://\${next-server}:8080/boot/\n`)
    const advertised = createSourceWorld({ advertise: '2001:db8::5' })
    expect(await advertised.text('autoexec.ipxe')).toContain(
      'set muster-base http://[2001:db8::5]:8080/boot/\n',
    )
  })
  test('U-Boot is told to go on over IPv6', async () => {
    const world = createSourceWorld()
    for (const name of ['boot.scr.uimg', `u-boot/arm/armv8/${named}.scr.uimg`]) {
      const text = async (client: typeof ipv6 | object) => {
        const [commands] = parseScriptImage(await world.bytes(name, client))
        return Buffer.from(commands ?? []).toString()
      }
      expect(await text(ipv6)).toContain(' -ipv6;')
      expect(await text({ serverAddress: '::ffff:192.0.2.1' })).not.toContain('-ipv6')
    }
  })
  test('to an address of one link: its agent, which could not use it, is told the others', async () => {
    const world = createSourceWorld()
    const local = { address: 'fe80::7%eth0', serverAddress: 'fe80::1%eth0' }
    expect(await world.text(`pxelinux.cfg/01-${named}`, local)).toContain(
      ' muster.server=https://192.0.2.1:8443,https://[2001:db8::1]:8443 ',
    )
  })
})

describe('u-root', () => {
  const uRoot = { over: 'http', userAgent: 'Go-http-client/1.1' } as const
  test('is not given a script that it would take for an empty one', async () => {
    const world = createSourceWorld()
    await expect(world.text('autoexec.ipxe', uRoot)).rejects.toMatchObject({ code: 'file-not-found' })
    expect(await world.text(`pxelinux.cfg/01-${named}`, uRoot)).toContain('LINUX agent/amd64/kernel')
  })
  test('gets one that it can read where the URL says who it is', async () => {
    const world = createSourceWorld()
    expect(await world.source.ipxe({ mac }, { ...world.client, ...uRoot })).toBe(
      '#!ipxe\nkernel agent/amd64/kernel console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-52-54-00-12-34-56\ninitrd agent/amd64/initramfs\nboot\n',
    )
  })
})

describe('a Raspberry Pi', () => {
  test('boots a tree of its own, of firmware, two texts and the agent', async () => {
    const world = createSourceWorld({ machines: [{ name: 'pi-1', serial: '9ffefdef', arch: 'arm64' }] })
    expect(await world.text('9ffefdef/start4.elf')).toBe('<pi/start4.elf>')
    expect(await world.text('9ffefdef/config.txt')).toContain('# Muster: pi-1: starting the boot agent')
    expect(await world.text('9ffefdef/cmdline.txt')).toContain('muster.server=https://192.0.2.1:8443')
    expect(await world.text('9ffefdef/muster-kernel')).toBe('<agent/arm64/kernel>')
    expect(await world.text('9ffefdef/muster-initramfs')).toBe('<agent/arm64/initramfs>')
  })
  test('that is to go on finds nothing, not even its firmware', async () => {
    const world = createSourceWorld({
      machines: [{ name: 'pi-1', serial: '9ffefdef', arch: 'arm64', skip: 'pi-1 is retired' }],
    })
    for (const file of ['start4.elf', 'config.txt', 'muster-kernel'])
      await expect(world.text(`9ffefdef/${file}`), file).rejects.toMatchObject({ code: 'file-not-found' })
  })
  test('with an unverified profile gets the operator’s kernel under the same name', async () => {
    const world = createSourceWorld({ machines: [{ name: 'pi-1', serial: '9ffefdef', profile: lab }] })
    expect(await world.text('9ffefdef/muster-kernel')).toBe('<files/vmlinuz>')
    expect(await world.text('9ffefdef/muster-initramfs')).toBe('<files/a.img>')
    expect(world.unverified.length).toBeGreaterThan(0)
  })
})

describe('pixiecore’s API', () => {
  test('answers what a machine boots, and ignores one that is to go on', async () => {
    const world = createSourceWorld({ machines: [{ name: 'old', mac, skip: 'old is retired' }] })
    expect(await world.source.pixiecore('52:54:00:00:00:09', world.client)).toMatchObject({
      kernel: 'http://192.0.2.1:8080/boot/agent/amd64/kernel',
    })
    await expect(world.source.pixiecore(mac, world.client)).rejects.toMatchObject({ code: 'file-not-found' })
    await expect(world.source.pixiecore('x', world.client)).rejects.toMatchObject({ code: 'file-not-found' })
  })
})

describe('what is remembered', () => {
  test('of everything given: what, to whom, when', async () => {
    const world = createSourceWorld()
    await world.text(`pxelinux.cfg/01-${named}`)
    await world.text('agent/amd64/kernel', { over: 'http' })
    await world.text('undionly.kpxe')
    expect(world.activity).toEqual([
      {
        at: new Date('2026-06-01T08:00:00Z'),
        mac,
        address: '192.0.2.7',
        over: 'tftp',
        what: 'script',
        detail: `pxelinux.cfg/01-${named}`,
        gives: 'agent',
      },
      expect.objectContaining({ what: 'kernel', over: 'http', detail: 'agent/amd64/kernel' }),
      expect.objectContaining({ what: 'loader', detail: 'undionly.kpxe' }),
    ])
  })
  test('of what is not there: its name, how often, who asked last', async () => {
    const world = createSourceWorld({ files: [] })
    const ask = (name: string, address: string) => world.text(name, { address }).catch(() => {})
    await ask('pxelinux.0', '192.0.2.7')
    world.pass(60_000)
    await ask('pxelinux.0', '192.0.2.8')
    await ask('files/memtest\u001b[2J', '192.0.2.8')
    expect(world.unknown.list()).toEqual([
      expect.objectContaining({ name: 'files/memtest?[2J', count: 1, addresses: ['192.0.2.8'] }),
      {
        name: 'pxelinux.0',
        count: 2,
        firstAt: '2026-06-01T08:00:00.000Z',
        lastAt: '2026-06-01T08:01:00.000Z',
        over: ['tftp'],
        addresses: ['192.0.2.8', '192.0.2.7'],
      },
    ])
  })
  test('of names that loaders try in turn nothing, and neither of what the doctor asks; of a slip in one its name', async () => {
    const world = createSourceWorld({ files: [] })
    const probes = ['default-riscv', 'C0A80107', 'C', `20-${named}`, uuid].map((end) => `pxelinux.cfg/${end}`)
    const grub = ['C0A801', uuid].map((end) => `boot/grub/grub.cfg-${end}`)
    const slips = ['pxelinux.cfg/defautl', `pxelinux.cfg/${named}`, 'grub.cfg-rack7', 'pxelinux.cfg/a/b']
    for (const name of [...probes, ...grub, noSuchFile, ...slips]) await world.text(name).catch(() => {})
    expect(world.unknown.list().map(({ name }) => name)).toEqual(slips.reverse())
  })
  test('a scanner pushes out its own names, and no more than the list holds are kept', async () => {
    const world = createSourceWorld({ files: [] })
    const ask = (name: string, address: string) => world.text(name, { address }).catch(() => {})
    await ask('pxelinux.0', '192.0.2.7')
    for (let index = 0; index < 100; index++) await ask(`scan-${index}`, '192.0.2.66')
    expect(world.unknown.list().map(({ name }) => name)).toEqual([
      'scan-99',
      'scan-98',
      'scan-97',
      'scan-96',
      'pxelinux.0',
    ])
    for (let index = 0; index < 100; index++) await ask(`many-${index}`, `198.51.100.${index}`)
    expect(world.unknown.list()).toHaveLength(16)
  })
})
