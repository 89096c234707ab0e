import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { commandsOf } from '../../src/setup/commands.ts'
import { type Greeting, greeting, preparedLines } from '../../src/setup/greeting.ts'
import { pathsOf } from '../../src/setup/paths.ts'
import { createProgressLines } from '../../src/setup/progress-lines.ts'

const { config } = loadConfig({ env: {}, flags: { data: '/srv/muster', advertise: '192.0.2.1' } })
const facts: Greeting = {
  config,
  paths: pathsOf(config),
  commands: commandsOf({ data: '/srv/muster' }),
  ports: { firmware: 8080, agent: 8443, admin: 9443, tftp: 69 },
  newToken: undefined,
  firstStart: false,
}
const textOf = (changes: Partial<Greeting>) => greeting({ ...facts, ...changes }).join('\n')

describe('what a start prints', () => {
  test('the first start: DHCP lines of each kind of firmware, and the backup', () => {
    const text = textOf({ firstStart: true })
    for (const architecture of [0, 7, 11, 16]) expect(text).toContain(`option:client-arch,${architecture}\n`)
    expect(text).toContain('dhcp-boot=tag:ipxe,http://192.0.2.1:8080/boot/autoexec.ipxe')
    expect(text).toContain('Back up /srv/muster/keys now')
  })
  test('the first start of a follower speaks of the keys that it has, and of no root.pem', () => {
    const flags = {
      data: '/srv/muster',
      'releases.upstream.url': 'https://first.example/tuf/main',
      'releases.upstream.root': 'root.json',
    }
    const text = textOf({ config: loadConfig({ env: {}, flags }).config, firstStart: true })
    expect(text).not.toContain('root.pem')
    expect(text).toContain('/srv/muster/keys/main/plan.pem')
    expect(text).toContain('Back up /srv/muster/keys now: without its agent-plane.key.pem')
  })
  test('the demonstration image is promised only where it is made', () => {
    expect(textOf({ firstStart: true })).toContain('demonstration image')
    const none = loadConfig({ env: {}, flags: { data: '/srv/muster', 'image.prepare': 'false' } }).config
    expect(textOf({ config: none, firstStart: true })).not.toContain('demonstration image')
  })
  test('commands can be pasted: they name a data folder that is not the default one', () => {
    const text = textOf({ newToken: 'muster_x' })
    expect(text).toContain('Commands: ./muster --data /srv/muster --help')
    expect(text).toContain('(./muster --data /srv/muster token new makes another)')
  })
  test('a second start says where it is, and nothing twice', () => {
    const text = textOf({})
    expect(text).toContain('http://192.0.2.1:8080')
    expect(text).not.toMatch(/dhcp-boot|Back up|npm run boot|MISSING/)
    expect(text.split('\n').length).toBeLessThan(7)
  })
  test('without port 69, every start says what cannot boot and the one command', () => {
    const text = textOf({ ports: { ...facts.ports, tftp: 6969 } })
    expect(text).toContain('PXE ROMs')
    expect(text).toContain('sysctl net.ipv4.ip_unprivileged_port_start=69')
  })
  test('with a port for TFTP that was chosen, the choice is named, and no right that nobody lacks', () => {
    const chosen = loadConfig({ env: {}, flags: { 'tftp.port': '1069' } }).config
    const text = textOf({ config: chosen, ports: { ...facts.ports, tftp: 1069 } })
    expect(text).toContain('tftp.port is 1069')
    expect(text).not.toMatch(/may (not )?take|sysctl/)
  })
  test('the token is shown at the start that made it, and at no other', () => {
    expect(textOf({ newToken: 'muster_x' })).toContain('  muster_x\n')
    expect(textOf({ newToken: undefined })).not.toContain('muster_')
  })
  test('a server on loopback alone does not name an address where nobody answers', () => {
    for (const host of ['127.0.0.1', '::1']) {
      const local = loadConfig({ env: {}, flags: { 'firmware.host': host } }).config
      const text = textOf({ config: local, firstStart: true })
      expect(text).toContain(`http://${host === '::1' ? '[::1]' : host}:8080`)
      expect(text).toContain(`Only this machine reaches it: firmware.host is ${host}.`)
      expect(text).not.toContain('dhcp-boot')
    }
  })
  test('a server that listens on one address names that one', () => {
    const one = loadConfig({ env: {}, flags: { 'firmware.host': '192.0.2.7' } }).config
    expect(textOf({ config: one })).toContain('http://192.0.2.7:8080')
  })
})

describe('what is printed when the preparation is over', () => {
  const { commands } = facts
  const missing = [
    { what: 'the boot agent', code: 'download-failed', reason: 'No mirror answered.' } as const,
  ]
  test('the next command, where something was made', () => {
    const text = preparedLines({ missing: [], made: true, commands }).join('\n')
    expect(text).toContain('See a machine boot:  npm run boot -- --data /srv/muster')
  })
  test('nothing at a start that had nothing to do', () => {
    expect(preparedLines({ missing: [], made: false, commands })).toEqual([])
  })
  test('what could not be made anew is not called missing', () => {
    const text = preparedLines({ missing: [{ ...missing[0]!, older: true }], made: true, commands }).join(
      '\n',
    )
    expect(text).toContain('NOT RENEWED: the boot agent (download-failed). No mirror answered. The one of')
    expect(text).not.toContain('MISSING')
  })
  test('what is missing with its reason, and no boot is promised', () => {
    const text = preparedLines({ missing, made: true, commands }).join('\n')
    expect(text).toContain('MISSING: the boot agent (download-failed). No mirror answered.')
    expect(text).not.toContain('npm run boot')
  })
})

describe('progress', () => {
  const linesOf = (totalBytes: number) => {
    const lines: string[] = []
    const progress = createProgressLines((line) => lines.push(line))
    for (let step = 0; step <= 100; step++)
      progress({ name: 'curl', doneBytes: (totalBytes * step) / 100, totalBytes })
    return lines
  }
  test('a download is told in a line for each quarter', () => {
    expect(linesOf(46_000_000).map((line) => line.trim())).toEqual([
      '0.0 of 46 MB',
      '12 of 46 MB',
      '23 of 46 MB',
      '35 of 46 MB',
      '46 of 46 MB',
    ])
  })
  test('one of less than 5 MB is not told at all', () => {
    expect(linesOf(4_900_000)).toEqual([])
  })
})
