/** The whole script that firmware gets, in each language, and encoders that let no text become a command. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Given } from '../../src/boot/firmware.ts'
import { parseScriptImage } from '../../src/boot/formats/legacy-image.ts'
import { encodeGrub, grubFirstScript, grubScript } from '../../src/boot/languages/grub.ts'
import { encodeIpxe, ipxeFirstScript, ipxeScript } from '../../src/boot/languages/ipxe.ts'
import { pixiecoreAnswer } from '../../src/boot/languages/pixiecore.ts'
import { encodePxelinux, pxelinuxConfig } from '../../src/boot/languages/pxelinux.ts'
import {
  encodePiCommandLine,
  encodePiConfig,
  piCommandLine,
  piConfig,
} from '../../src/boot/languages/raspberry-pi.ts'
import { fillTemplate, type ScriptContext } from '../../src/boot/languages/template.ts'
import { encodeHush, uBootCommands, uBootFirstScript } from '../../src/boot/languages/u-boot.ts'
import { encodeURoot, uRootScript } from '../../src/boot/languages/u-root.ts'

const context: ScriptContext = {
  agentArguments: () => ['console=tty0', 'console=ttyS0,115200'],
  agentServers: 'https://192.0.2.1:8443',
  mac: '52:54:00:12:34:56',
}
const agent: Given = {
  give: 'agent',
  arch: 'arm64',
  reason: 'rack-7: starting the boot agent',
  machine: 'rack-7',
}
const skip: Given = { give: 'skip', reason: 'no profile matches rack-7' }
const unverified: Given = {
  give: 'unverified',
  arch: 'arm64',
  machine: 'rack-7',
  reason: 'profile lab gives rack-7 vmlinuz',
  kernel: 'vmlinuz',
  initrd: ['a.img', 'b.img'],
  arguments: ['root=/dev/ram0', 'quiet'],
}
const withoutComments = (script: string) => script.replace(/^# .*\n/gm, '')
/** What somebody would write into a label to be root on a machine. */
const evil =
  "x'; reboot\n\r`id` $(id) $" +
  '{bootcmd} "q" && chain http://evil/ || shell # [all] {} <>*?\\ \u2028 initrd=http://evil/'
const evilGiven: Given[] = [
  { ...skip, reason: evil },
  { ...agent, reason: evil } as Given,
  { ...unverified, reason: evil, arguments: [evil] } as Given,
]

test('a reason is a sentence to the person at the console, in every language', () => {
  const retired = "rack-7 is retired; 'muster approve rack-7' takes it back"
  const plain = 'rack-7 is retired, muster approve rack-7 takes it back'
  const given = { give: 'skip', reason: retired } as const
  expect(grubScript(given, context)).toContain(`echo 'Muster: ${plain}'`)
  expect(pxelinuxConfig(given, context)).toContain(`SAY Muster: ${plain};`)
  expect(uBootCommands(given, context)).toContain(`echo Muster: ${plain}\n`)
  expect(piConfig({ ...agent, reason: retired } as never)).toContain(plain)
})

describe('iPXE', () => {
  test('loads the agent with the server’s address and the interface that booted', () => {
    expect(withoutComments(ipxeScript(agent, context))).toBe(`#!ipxe
echo Muster: rack-7: starting the boot agent
kernel agent/arm64/kernel initrd=initramfs console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-\${netX/mac:hexhyp} || goto failed
initrd --name initramfs agent/arm64/initramfs || goto failed
boot || goto failed
:failed
echo Muster: the boot agent could not be loaded; trying again in 10 seconds
imgfree ||
sleep 10
chain --replace autoexec.ipxe || goto failed
`)
  })
  test('goes on at a peer when the server went away in the middle of a download', () => {
    const elsewhere = ['http://192.0.2.2:8080', 'http://192.0.2.3:8080']
    const asked = { ...agent, menu: { seconds: 15 } } as Given
    const next =
      '|| chain --replace http://192.0.2.2:8080/boot/autoexec.ipxe || chain --replace http://192.0.2.3:8080/boot/autoexec.ipxe || goto failed'
    for (const script of [
      ipxeScript(agent, { ...context, elsewhere }),
      ipxeScript(asked, { ...context, elsewhere }),
      ipxeFirstScript('', elsewhere),
    ]) {
      const last = script.trimEnd().split('\n').at(-1) ?? ''
      expect(last).toMatch(/^chain --replace \S*autoexec\.ipxe \|\| chain/)
      expect(last).toContain(next)
    }
  })
  test('goes on to the next boot device', () => {
    expect(ipxeScript(skip, context)).toBe(`#!ipxe
echo Muster: no profile matches rack-7
echo Muster: going on to the next boot device
sleep 3
exit 1
`)
  })
  test('shows a person a menu, and boots when nobody is there', () => {
    const asked = { ...agent, menu: { seconds: 15, memtest: 'memtest.efi' } } as Given
    expect(withoutComments(ipxeScript(asked, context))).toBe(`#!ipxe
menu Muster: rack-7: starting the boot agent || goto boot
item --key b boot Boot
item --key m memtest Memory test (UNVERIFIED, from the files folder)
item --key s shell Shell of iPXE, to look around (exit comes back)
item --key l local Go on to the next boot device
choose --default boot --timeout 15000 selected || goto boot
goto \${selected}
:boot
set choice boot
goto chosen
:memtest
set choice memtest
:chosen
chain --replace ipxe?mac=\${netX/mac:hexhyp}&buildarch=\${buildarch}&choice=\${choice} || goto failed
:shell
shell
chain --replace autoexec.ipxe || goto failed
:local
exit 1
:failed
echo Muster: the server did not answer; trying again in 10 seconds
sleep 10
chain --replace autoexec.ipxe || goto failed
`)
    expect(ipxeScript(asked, context, 'boot')).toBe(ipxeScript(agent, context))
    const memtest = ipxeScript(asked, context, 'memtest')
    expect(memtest).toContain('echo Muster: UNVERIFIED: the menu gives memtest.efi')
    expect(memtest).toContain('kernel ../files/memtest.efi')
    const without = { ...agent, menu: { seconds: 15 } } as Given
    expect(ipxeScript(without, context)).not.toContain('item --key m')
    expect(ipxeScript(without, context, 'memtest')).toBe(ipxeScript(agent, context))
  })
  test.each([
    ['autoexec', ipxeFirstScript('')],
    ['agent', ipxeScript(agent, context)],
    ['unverified', ipxeScript(unverified, context)],
    ['menu', ipxeScript({ ...agent, menu: { seconds: 1 } } as Given, context)],
  ])('no failing download ends %s and sends the machine to its disk', (_, script) => {
    const fetching = script.split('\n').filter((line) => /^(?:kernel|initrd|chain|boot)\b/.test(line))
    expect(fetching.length).toBeGreaterThan(1)
    expect(fetching.filter((line) => !/ \|\|(?: goto failed)?$/.test(line))).toEqual([])
  })
  test('a reason from a label cannot add a line, a setting or a command', () => {
    const script = ipxeScript({ give: 'skip', reason: evil }, context)
    expect(script.split('\n')).toHaveLength(6)
    expect(script).not.toMatch(/&&|\|\||\$\{|`|"/)
  })
})

describe('u-root', () => {
  test('gets kernel, initrd and boot, and nothing else', () => {
    expect(uRootScript(agent, context)).toBe(`#!ipxe
kernel agent/arm64/kernel console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-52-54-00-12-34-56
initrd agent/arm64/initramfs
boot
`)
    expect(uRootScript(unverified, context)).toBe(`#!ipxe
kernel ../files/vmlinuz root=/dev/ram0 quiet BOOTIF=01-52-54-00-12-34-56
initrd ../files/a.img,../files/b.img
boot
`)
    expect(() => uRootScript(skip, context)).toThrowError(expect.objectContaining({ code: 'file-not-found' }))
  })
})

describe('GRUB', () => {
  test('says who it is when it was not built to look for itself', () => {
    expect(withoutComments(grubFirstScript())).toBe(`echo "Muster: asking what $net_default_mac boots"
if [ -n "$net_default_mac" ]; then
  configfile $prefix/$grub_cpu/grub.cfg-01-$net_default_mac
fi
configfile $prefix/$grub_cpu/agent.cfg
`)
  })
  test('loads the agent, and tries until it has it', () => {
    expect(grubScript(agent, context)).toBe(`echo 'Muster: rack-7: starting the boot agent'
until linux $prefix/agent/arm64/kernel console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-52-54-00-12-34-56; do
  echo 'Muster: the boot agent could not be loaded; trying again in 10 seconds'
  sleep 10
done
until initrd $prefix/agent/arm64/initramfs; do
  echo 'Muster: the boot agent could not be loaded; trying again in 10 seconds'
  sleep 10
done
boot
`)
  })
  test('goes on to the next boot device with a code that firmware takes for a failure', () => {
    expect(withoutComments(grubScript(skip, context))).toBe(`echo 'Muster: no profile matches rack-7'
echo 'Muster: going on to the next boot device'
sleep 3
exit 1
`)
  })
  test('says of an unverified kernel that it is one', () => {
    expect(grubScript(unverified, context)).toBe(`echo 'Muster: UNVERIFIED: profile lab gives rack-7 vmlinuz'
echo 'Muster: UNVERIFIED: this kernel comes from the files folder; nothing checked it'
until linux $prefix/files/vmlinuz root=/dev/ram0 quiet; do
  echo 'Muster: UNVERIFIED: a file could not be loaded; trying again in 10 seconds'
  sleep 10
done
until initrd $prefix/files/a.img $prefix/files/b.img; do
  echo 'Muster: UNVERIFIED: a file could not be loaded; trying again in 10 seconds'
  sleep 10
done
boot
`)
  })
})

describe('pxelinux.cfg', () => {
  test('loads the agent, INITRD before APPEND, BOOTIF written out', () => {
    expect(pxelinuxConfig(agent, context)).toBe(`SAY Muster: rack-7: starting the boot agent
DEFAULT muster
PROMPT 0
LABEL muster
  LINUX agent/arm64/kernel
  INITRD agent/arm64/initramfs
  APPEND console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-52-54-00-12-34-56
`)
  })
  test('gives a board the image and the device trees that its profile names', () => {
    const fit = { ...agent, firmware: { kernelFormat: 'fit', deviceTrees: 'dtbs' } } as Given
    expect(pxelinuxConfig(fit, context)).toContain(`LABEL muster
  LINUX agent/arm64/fit#muster
  FDTDIR files/dtbs
  APPEND console=tty0`)
    const own = { ...unverified, firmware: { kernelFormat: 'image', deviceTree: 'board.dtb' } } as Given
    expect(
      pxelinuxConfig(own, context),
    ).toBe(`SAY Muster: UNVERIFIED: profile lab gives rack-7 vmlinuz - nothing checked it
DEFAULT muster
PROMPT 0
LABEL muster
  LINUX files/vmlinuz
  INITRD files/a.img,files/b.img
  FDT files/board.dtb
  APPEND root=/dev/ram0 quiet BOOTIF=01-52-54-00-12-34-56
`)
  })
  test('goes on to the next boot device', () => {
    expect(
      pxelinuxConfig(skip, context),
    ).toBe(`SAY Muster: no profile matches rack-7; going on to the next boot device
DEFAULT local
PROMPT 0
LABEL local
  LOCALBOOT -1
`)
  })
})

describe('U-Boot', () => {
  test('is asked who it is by a script that is the same for every board', () => {
    const [commands] = parseScriptImage(uBootFirstScript())
    expect(
      withoutComments(Buffer.from(commands ?? []).toString()),
    ).toBe(`echo Muster: asking what \${ethaddr} boots
setenv muster_mac
setexpr muster_mac gsub : - \${ethaddr}
if test -n "\${muster_mac}"; then if tftpboot \${scriptaddr} u-boot/\${arch}/\${cpu}/\${muster_mac}.scr.uimg; then source \${scriptaddr}; fi; else pxe get; pxe boot; fi
`)
  })
  test('loads the agent and hands its own device tree over', () => {
    expect(uBootCommands(agent, context)).toBe(`echo Muster: rack-7: starting the boot agent
setenv bootargs console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-52-54-00-12-34-56
setenv muster_fdt \${fdtcontroladdr}
if test -n "\${fdt_addr}"; then setenv muster_fdt \${fdt_addr}; fi

until tftpboot \${kernel_addr_r} agent/arm64/kernel; do echo Muster: agent/arm64/kernel could not be loaded - trying again in 10 seconds; sleep 10; done
until tftpboot \${ramdisk_addr_r} agent/arm64/initramfs; do echo Muster: agent/arm64/initramfs could not be loaded - trying again in 10 seconds; sleep 10; done
booti \${kernel_addr_r} \${ramdisk_addr_r}:\${filesize} \${muster_fdt}
echo Muster: U-Boot could not start the kernel - restarting in 10 seconds
sleep 10
reset
`)
  })
  test('gets one image where it has no booti, and zboot on a PC', () => {
    const fit = { ...agent, firmware: { kernelFormat: 'fit', deviceTree: 'board.dtb' } } as Given
    const commands = uBootCommands(fit, context)
    expect(commands).toContain(`tftpboot \${kernel_addr_r} agent/arm64/fit;`)
    expect(commands).toContain(
      `setenv muster_fdt \${fdt_addr_r}\nuntil tftpboot \${fdt_addr_r} files/board.dtb;`,
    )
    expect(commands).toContain(`\nbootm \${kernel_addr_r}#muster \${kernel_addr_r}#muster \${muster_fdt}\n`)
    expect(commands).not.toContain('initramfs')
    expect(uBootCommands({ ...agent, arch: 'amd64' } as Given, context)).toContain(
      `\nzboot \${kernel_addr_r} 0 \${ramdisk_addr_r} \${filesize}\n`,
    )
  })
  test('goes on to its next boot target', () => {
    expect(uBootCommands(skip, context)).toBe(`echo Muster: no profile matches rack-7
echo Muster: going on to the next boot device
`)
  })
})

describe('Raspberry Pi', () => {
  const pi = agent as Exclude<Given, { give: 'skip' }>
  test('reads config.txt and cmdline.txt of its own', () => {
    expect(piConfig(pi)).toBe(`# Muster: rack-7: starting the boot agent
arm_64bit=1
enable_uart=1
# Debian's kernel and its device trees: bcm2837-rpi-3-b.dtb, bcm2711-rpi-4-b.dtb
upstream_kernel=1
kernel=muster-kernel
initramfs muster-initramfs followkernel
`)
    expect(piCommandLine(pi, { ...context, mac: undefined })).toBe(
      'console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443\n',
    )
  })
  test('is told in config.txt that a kernel is unverified, and of no initramfs where there is none', () => {
    const bare = { ...unverified, initrd: [] } as Exclude<Given, { give: 'skip' }>
    expect(piConfig(bare)).toContain('# Muster: UNVERIFIED: profile lab gives rack-7 vmlinuz\n')
    expect(piConfig(bare)).not.toContain('initramfs ')
    expect(piCommandLine(bare, context)).toBe('root=/dev/ram0 quiet BOOTIF=01-52-54-00-12-34-56\n')
  })
})

describe('pixiecore’s API', () => {
  test('names absolute URLs', () => {
    const bootable = agent as Exclude<Given, { give: 'skip' }>
    expect(pixiecoreAnswer(bootable, context, 'http://192.0.2.1:8080')).toEqual({
      kernel: 'http://192.0.2.1:8080/boot/agent/arm64/kernel',
      initrd: ['http://192.0.2.1:8080/boot/agent/arm64/initramfs'],
      cmdline:
        'console=tty0 console=ttyS0,115200 muster.server=https://192.0.2.1:8443 BOOTIF=01-52-54-00-12-34-56',
      message: 'Muster: rack-7: starting the boot agent',
    })
  })
})

describe('a server with an IPv6 address', () => {
  const ipv6 = { ...context, agentServers: 'https://[2001:db8::1]:8443,https://[2001:db8::2]:8443' }
  const named = ` muster.server=${ipv6.agentServers}`
  const bootable = agent as Exclude<Given, { give: 'skip' }>
  test.each([
    ['iPXE', ipxeScript(agent, ipv6)],
    ['GRUB', grubScript(agent, ipv6)],
    ['pxelinux', pxelinuxConfig(agent, ipv6)],
    ['U-Boot', uBootCommands(agent, ipv6)],
    ['u-root', uRootScript(agent, ipv6)],
    ['cmdline.txt', piCommandLine(bootable, ipv6)],
    ['pixiecore', pixiecoreAnswer(bootable, ipv6, 'http://[2001:db8::1]:8080').cmdline],
  ])('%s hands its brackets to the agent as they are', (_, script) => {
    expect(script).toContain(named)
  })
  test('U-Boot that came over IPv6 says so in every command that loads, last of all', () => {
    const own = { ...agent, firmware: { kernelFormat: 'image', deviceTree: 'board.dtb' } } as Given
    const first = Buffer.from(parseScriptImage(uBootFirstScript({ ipv6: true }))[0] ?? []).toString()
    const commands = withoutComments(`${first}\n${uBootCommands(own, { ...ipv6, ipv6: true })}`)
    const loading = commands.match(/\b(?:tftpboot|pxe get|pxe boot)\b[^;\n]*/g) ?? []
    expect(loading).toHaveLength(6)
    expect(loading.filter((command) => !command.endsWith(' -ipv6'))).toEqual([])
  })
})

describe('what anybody may have written into a label, a serial number or an argument', () => {
  const languages: [name: string, render: (given: Given) => string, lines: number[]][] = [
    ['iPXE', (given) => ipxeScript(given, context), []],
    ['GRUB', (given) => grubScript(given, context), []],
    ['pxelinux', (given) => pxelinuxConfig(given, context), []],
    ['U-Boot', (given) => uBootCommands(given, context), []],
  ]
  test.each(languages)('%s has as many lines and commands as without it', (_, render) => {
    for (const [index, harmless] of [skip, agent, unverified].entries()) {
      const script = render(evilGiven[index] as Given)
      const words = (text: string) => text.split('\n').map((line) => line.trim().split(' ')[0])
      expect(words(script)).toEqual(words(render(harmless)))
      expect(script).not.toContain('`id`')
      expect(script).not.toMatch(/\$\(|\$\{bootcmd\}/)
    }
  })
  test('a file name that would be syntax is refused, not changed into another one', () => {
    const given = { ...unverified, kernel: 'a b; reboot' } as Given
    for (const [, render] of languages)
      expect(() => render(given)).toThrowError(expect.objectContaining({ code: 'profile-invalid' }))
  })
  test.each([
    ['iPXE', encodeIpxe, /^[A-Za-z0-9 ._:,;/=@%+?()[\]*-]{0,2048}$/],
    ['GRUB', encodeGrub, /^[A-Za-z0-9 ._:,/=@%+[\]-]{0,2048}$/],
    ['pxelinux', encodePxelinux, /^(?!.*initrd=)[A-Za-z0-9 ._:,/=@%+[\]-]{0,2048}$/i],
    ['U-Boot', encodeHush, /^[A-Za-z0-9 ._:,/=@%+[\]-]{0,2048}$/],
    ['u-root', encodeURoot, /^[A-Za-z0-9 ._:,/=@%+[\]-]{0,2048}$/],
    ['config.txt', encodePiConfig, /^[A-Za-z0-9 ._:,/=@%+-]{0,80}$/],
    ['cmdline.txt', encodePiCommandLine, /^[A-Za-z0-9 ._:,/=@%+[\]-]{0,2048}$/],
  ] as const)('%s: whatever text comes in, no syntax comes out', (_, encode, allowed) => {
    const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 4000 }), fc.constantFrom(evil, 'INITRD=x'))
    fc.assert(fc.property(text, (given) => void expect(encode(given)).toMatch(allowed)))
  })
  test('a value that a template wants and nobody gave is our own fault', () => {
    expect(() => fillTemplate('ipxe/agent.ipxe', encodeIpxe, {})).toThrowError(/wants a value/)
  })
})
