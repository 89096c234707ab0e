import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseKernelArguments } from '../../src/agent/config.ts'
import { parseLease, parseStaticAddress } from '../../src/agent/lease.ts'
import { MusterError } from '../../src/errors.ts'
import { World } from './world.ts'

async function createWorld(): Promise<World> {
  const world = new World()
  world.release()
  await world.listen()
  return world
}

function addInterface(world: World, name: string, mac: string, carrier: boolean): void {
  world.write(`sys/class/net/${name}/address`, `${mac}\n`)
  world.write(`sys/class/net/${name}/type`, '1\n')
  world.write(`sys/class/net/${name}/carrier`, carrier ? '1\n' : '0\n')
  world.write(`sys/class/net/${name}/device/vendor`, '0x8086\n')
}

describe('which interface', () => {
  test('the one that booted, though another has a link too', async () => {
    await using world = await createWorld()
    addInterface(world, 'aaa0', '52:54:00:00:00:01', true)
    const { lines } = await world.boot()
    expect(lines[0]).toBe('muster: network: eth0 has 10.0.2.15/24')
    expect(world.read('udhcpc.log').toString()).toMatch(
      /^-i eth0 -f -n -q -t 6 -T 3 -O tftp -O bootfile -s \S+\/run\/udhcpc\n$/,
    )
  })

  test('without BOOTIF the ones with a link first, until a DHCP server answers', async () => {
    await using world = await createWorld()
    world.commandLine = 'quiet'
    addInterface(world, 'aaa0', '52:54:00:00:00:01', false)
    addInterface(world, 'aaa1', '52:54:00:00:00:02', true)
    world.program(
      'udhcpc',
      `case "$*" in *eth0*) printf '%s\\n' ip=10.0.2.15 mask=24 > '${world.folder}/run/lease' ;; *) exit 1 ;; esac`,
    )
    const { lines, started } = await world.boot()
    expect(lines[0]).toBe('muster: network: eth0 has 10.0.2.15/24')
    expect(started).toBe(true)
    expect(world.read('ip.log').toString()).toContain('link set dev aaa1 up')
  })

  test('what failed on each of them is said', async () => {
    await using world = await createWorld()
    addInterface(world, 'eth1', '52:54:00:00:00:02', false)
    world.program('udhcpc', 'exit 1')
    const { lines } = await world.boot()
    expect(lines[0]).toContain('eth0 got no answer from a DHCP server; eth1 has no link')
  })

  test('IPv6 by router advertisement will do where no DHCP server is', async () => {
    await using world = await createWorld()
    world.program('udhcpc', 'exit 1')
    world.write(
      'proc/net/if_inet6',
      'fe80000000000000505400fffe123456 02 40 20 80 eth0\n20010db8000000000000000000000001 02 40 00 00 eth0\n',
    )
    expect((await world.boot()).lines[0]).toBe('muster: network: eth0 has an IPv6 address')
  })
})

describe('addresses by hand', () => {
  test('muster.ip and muster.vlan need no DHCP server', async () => {
    await using world = await createWorld()
    world.commandLine += ' muster.ip=192.0.2.10/24,192.0.2.1,192.0.2.53 muster.vlan=42'
    const { lines } = await world.boot()
    expect(lines[0]).toBe('muster: network: eth0.42 has 192.0.2.10/24')
    expect(world.has('udhcpc.log')).toBe(false)
    expect(world.read('ip.log').toString().trim().split('\n')).toEqual([
      'link set dev eth0 up',
      'link add link eth0 name eth0.42 type vlan id 42',
      'link set dev eth0.42 up',
      'address flush dev eth0.42 scope global',
      'address add 192.0.2.10/24 dev eth0.42',
      'route replace default via 192.0.2.1 dev eth0.42',
    ])
    expect(world.read('resolv.conf').toString()).toBe('nameserver 192.0.2.53\n')
  })

  test.each(['192.0.2.10', '192.0.2.10/33', '192.0.2.300/24', '192.0.2.10/24,x', '', '1.2.3.4/24;reboot'])(
    'muster.ip=%s is refused, and says what is right',
    (text) => {
      expect(() => parseStaticAddress(text)).toThrow(expect.objectContaining({ code: 'network-unavailable' }))
    },
  )

  test.each(['0', '4095', '1;reboot', '-1', ''])('muster.vlan=%s is refused', async (vlan) => {
    await using world = await createWorld()
    world.commandLine += ` muster.vlan=${vlan}`
    expect((await world.boot()).code).toBe('network-unavailable')
    expect(world.has('ip.log')).toBe(false)
  })
})

describe('what the boot loader says', () => {
  test.each([
    ['BOOTIF=01-52-54-00-AB-CD-EF', '52:54:00:ab:cd:ef'],
    ['BOOTIF=52:54:00:ab:cd:ef', '52:54:00:ab:cd:ef'],
    ['BOOTIF=20-52-54-00-ab-cd-ef', undefined],
    ['BOOTIF=eth0', undefined],
    ['xBOOTIF=52:54:00:ab:cd:ef', undefined],
  ])('%s', (text, mac) => {
    expect(parseKernelArguments(`quiet ${text} x`).bootMac).toBe(mac)
  })

  test('servers of the command line count only where the configuration names none', async () => {
    await using world = await createWorld()
    const { url } = world
    world.config = { ...world.config, servers: [] }
    world.commandLine += ` muster.server=https://127.0.0.1:1,${url}/`
    expect((await world.boot()).started).toBe(true)
  })

  test('a server that is no plain https URL is a wrong configuration', async () => {
    await using world = await createWorld()
    world.config = { ...world.config, servers: [] }
    world.commandLine += ' muster.server=http://127.0.0.1:1'
    expect((await world.boot()).code).toBe('agent-config-invalid')
  })
})

describe('what a DHCP server says', () => {
  test('address, mask, gateway, name servers, lease', () => {
    const text = 'ip=10.0.2.15\nmask=24\nrouter=10.0.2.2 10.0.2.9\ndns=10.0.2.3 10.0.2.4\nlease=3600\n'
    expect(parseLease(text)).toEqual({
      ip: '10.0.2.15',
      prefix: 24,
      gateway: '10.0.2.2',
      nameServers: ['10.0.2.3', '10.0.2.4'],
      leaseSeconds: 3600,
      bootHosts: [],
    })
  })

  test('which hosts to boot from: the URL first, then next-server, option 66, and the DHCP server itself', () => {
    const lease = (more: string) => parseLease(`ip=10.0.2.15\nmask=24\n${more}`)?.bootHosts
    expect(
      lease(
        'serverid=10.0.2.2\ntftp=10.0.2.3\nsiaddr=10.0.2.4\nbootfile=http://10.0.2.5:8080/boot/agent-amd64.efi',
      ),
    ).toEqual(['10.0.2.5', '10.0.2.4', '10.0.2.3', '10.0.2.2'])
    expect(lease('siaddr=0.0.0.0\nboot_file=undionly.kpxe\nserverid=10.0.2.2')).toEqual(['10.0.2.2'])
    expect(lease('bootfile=http://10.0.2.5@evil/x\ntftp=$(reboot)\nboot_file=http://name/x')).toEqual([])
  })

  test('whatever it says, only addresses come out', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom('ip=1.2.3.4', 'mask=24', 'router=$(reboot)', 'dns=\n;', 'lease=-1'),
    )
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        const lease = parseLease(lines.join('\n'))
        if (lease === undefined) return
        for (const address of [lease.ip, lease.gateway ?? '0.0.0.0', ...lease.nameServers])
          expect(address).toMatch(/^\d{1,3}(\.\d{1,3}){3}$/)
        expect(lease.prefix).toBeGreaterThanOrEqual(1)
        expect(lease.leaseSeconds ?? 60).toBeGreaterThanOrEqual(60)
      }),
    )
  })

  test('muster.ip fails with our own error only', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseStaticAddress(text)
        } catch (error) {
          expect(error).toBeInstanceOf(MusterError)
        }
      }),
    )
  })
})
