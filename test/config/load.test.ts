import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { configKeys, environmentName, loadConfig } from '../../src/config/load.ts'
import { MusterError } from '../../src/errors.ts'

function file(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'muster-config-')), 'muster.yaml')
  writeFileSync(path, text)
  return path
}

function problemsOf(action: () => unknown): { code: string; problems: string[] } {
  try {
    action()
  } catch (error) {
    if (error instanceof MusterError)
      return { code: error.code, problems: (error.details['problems'] as string[]) ?? [error.message] }
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('where a value comes from', () => {
  test('nothing given: every setting has its default', () => {
    const { config, sources } = loadConfig({ env: {} })
    expect(config.firmware.port).toBe(8080)
    expect(new Set(sources.values())).toEqual(new Set(['default']))
  })

  test('a flag wins over the environment, the environment over the file, the file over the default', () => {
    const path = file('firmware: { port: 1001 }\ntftp: { port: 1002 }\nagent: { port: 1003 }\n')
    const { config, sources } = loadConfig({
      file: path,
      env: { MUSTER_TFTP_PORT: '2002', MUSTER_AGENT_PORT: '2003' },
      flags: { 'agent.port': '3003' },
    })
    expect([config.firmware.port, config.tftp.port, config.agent.port, config.admin.port]).toEqual([
      1001, 2002, 3003, 9443,
    ])
    expect(sources.get('firmware.port')).toBe(path)
    expect(sources.get('tftp.port')).toBe('MUSTER_TFTP_PORT')
    expect(sources.get('agent.port')).toBe('--set agent.port')
  })

  test('a flag with a name of its own is called by that name, and gives way to --set', () => {
    const named = [
      { flag: '--data', key: 'data', value: '/one' },
      { flag: '--log-level', key: 'log.level', value: 'warn' },
    ]
    const { config, sources } = loadConfig({ env: {}, named, flags: { data: '/two' } })
    expect([config.data, config.log.level]).toEqual(['/two', 'warn'])
    expect([sources.get('data'), sources.get('log.level')]).toEqual(['--set data', '--log-level'])
  })

  test('a list may be written with commas in the environment', () => {
    expect(
      loadConfig({ env: { MUSTER_IMAGE_ARCHITECTURES: 'amd64, arm64' } }).config.image.architectures,
    ).toEqual(['amd64', 'arm64'])
    const flags = { 'image.architectures': '["arm64"]', 'dhcp.relays': ' ["198.51.100.1", "198.51.100.2"]' }
    const { config } = loadConfig({ env: {}, flags })
    expect([config.image.architectures, config.dhcp.relays]).toEqual([
      ['arm64'],
      ['198.51.100.1', '198.51.100.2'],
    ])
    const { problems } = problemsOf(() =>
      loadConfig({ env: {}, flags: { 'dhcp.relays': '["198.51.100.1"' } }),
    )
    expect(problems.join()).toContain('dhcp.relays')
  })

  test('a flag of yes and no may be text', () => {
    expect(loadConfig({ env: { MUSTER_TFTP_ENABLED: 'false' } }).config.tftp.enabled).toBe(false)
  })

  test('every setting has an environment name of its own', () => {
    const names = configKeys().map(environmentName)
    expect(new Set(names).size).toBe(names.length)
  })
})

describe('peers', () => {
  const pin = `sha256//${'A'.repeat(43)}=`
  const peersOf = (value: unknown) =>
    loadConfig({ env: { MUSTER_AGENT_PEERS: JSON.stringify(value) } }).config.agent.peers

  test('stand by the URL of their agent plane, each with its pin', () => {
    const peers = { 'https://192.0.2.2:8443': { pin, firmware: 'http://192.0.2.2:8080' } }
    expect(peersOf(peers)).toEqual(peers)
    expect(peersOf({})).toEqual({})
  })

  test.each([
    ['without a pin', { 'https://192.0.2.2:8443': {} }],
    ['with a pin that is none', { 'https://192.0.2.2:8443': { pin: 'sha256//x' } }],
    ['with a path', { 'https://192.0.2.2:8443/agent': { pin } }],
    ['without TLS', { 'http://192.0.2.2:8443': { pin } }],
    ['with an argument behind it', { 'https://192.0.2.2:8443 init=/bin/sh': { pin } }],
    [
      'that are too many for a command line',
      Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`https://192.0.2.${n}:1`, { pin }])),
    ],
    [
      'with a script in the firmware plane',
      { 'https://192.0.2.2:8443': { pin, firmware: 'http://x:1 || shell' } },
    ],
  ])('%s are refused', (_, peers) => {
    const { code, problems } = problemsOf(() => peersOf(peers))
    expect(code).toBe('config-invalid')
    expect(problems.join()).toContain('agent.peers')
  })

  test('are refused in words that say what is wrong with them', () => {
    const many = Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`https://192.0.2.${n}:1`, { pin }]))
    expect(problemsOf(() => peersOf(many)).problems.join()).toContain('at most 4 peers')
    const path = { 'https://192.0.2.2:8443/agent': { pin } }
    expect(problemsOf(() => peersOf(path)).problems.join()).toContain('https://host:port, without a path')
    // No key has this pin: an agent would refuse its whole configuration.
    const never = { 'https://192.0.2.2:8443': { pin: `sha256//${'A'.repeat(42)}B=` } }
    expect(problemsOf(() => peersOf(never)).problems.join()).toContain('pin')
  })
})

describe('a wrong configuration', () => {
  const problemOf = (flags: Record<string, string>) =>
    problemsOf(() => loadConfig({ env: {}, flags })).problems[0]

  test.each([
    ['tftp.port', 'http', 'expected a whole number from 0 to 65535, got "http" (from --set tftp.port)'],
    ['tftp.port', '99999', 'expected a whole number from 0 to 65535, got 99999 (from --set tftp.port)'],
    [
      'tftp.giveUpMs',
      '0',
      'expected a whole number of milliseconds from 1 to 600000, got 0 (from --set tftp.giveUpMs)',
    ],
    [
      'stalls.dhcp',
      'soon',
      'expected a whole number of seconds from 1 to 86400, got "soon" (from --set stalls.dhcp)',
    ],
    [
      'tftp.blockBytesMax',
      '8',
      'expected a whole number of bytes from 512 to 65464, got 8 (from --set tftp.blockBytesMax)',
    ],
    ['tftp.enabled', 'yes', 'expected true or false, got "yes" (from --set tftp.enabled)'],
    ['dhcp.mode', 'on', 'expected one of off, proxy, server, auto, got "on" (from --set dhcp.mode)'],
    [
      'mirror',
      'debian',
      'expected a URL that begins with http:// or https://, got "debian" (from --set mirror)',
    ],
    ['data', '', 'expected text that is not empty, got "" (from --set data)'],
    [
      'advertise',
      'http://x',
      'expected a host name or an address, without scheme or port, got "http://x" (from --set advertise)',
    ],
  ])('%s=%s is told what is expected and what was given', (key, value, sentence) => {
    expect(problemOf({ [key]: value })).toBe(`${key}: ${sentence}`)
  })

  test('is told so inside of lists and mappings too', () => {
    expect(problemOf({ 'image.architectures': 'amd64,riscv' })).toBe(
      'image.architectures.1: expected one of amd64, arm64, got "riscv" (from --set image.architectures)',
    )
    expect(problemOf({ 'dhcp.pools': '{"192.0.2.0/24":{"leaseSeconds":1}}' })).toBe(
      'dhcp.pools.192.0.2.0/24.leaseSeconds: expected a whole number of seconds from 120 to 31536000, got 1 (from --set dhcp.pools)',
    )
    expect(problemOf({ 'dhcp.pools': '{"192.0.2.0/24":{"gatway":"192.0.2.1"}}' })).toBe(
      "dhcp.pools.192.0.2.0/24: 'gatway' is not one of its members, which are range, gateway, dns, ntp, domain, leaseSeconds; did you mean 'gateway'? (from --set dhcp.pools)",
    )
    expect(problemOf({ 'dhcp.pools': 'none' })).toMatch(
      /^dhcp\.pools: expected members by name .*192\.0\.2\.0\/24: .*, got "none" /,
    )
    expect(problemOf({ 'releases.upstream.url': 'https://a.example' })).toBe(
      'releases.upstream.root: it is missing, and has no default; expected text',
    )
  })

  test('names the setting that was meant', () => {
    for (const [key, sentence] of [
      ['tftp.prot', "no setting has this name; did you mean 'tftp.port'? (from --set tftp.prot)"],
      ['foo', 'no setting has this name (from --set foo)'],
      [
        'blockBytesMax',
        "no setting has this name; did you mean 'tftp.blockBytesMax'? (from --set blockBytesMax)",
      ],
      [
        'unknownFiles',
        'is a group of settings, not one: unknownFiles.namesMax, unknownFiles.namesPerAddressMax, unknownFiles.addressesMax (from --set unknownFiles)',
      ],
      ['x'.repeat(10_000), `no setting has this name (from --set ${'x'.repeat(10_000)})`],
    ] as const)
      expect(problemOf({ [key]: '1' })).toBe(`${key}: ${sentence}`)
    expect(problemsOf(() => loadConfig({ env: { MUSTER_FIRMWARE_PROT: '1' } })).problems).toEqual([
      "MUSTER_FIRMWARE_PROT: no setting has this name; did you mean 'MUSTER_FIRMWARE_PORT'?",
    ])
  })

  test('of any setting is never answered in the words of the schema library', () => {
    for (const key of configKeys())
      for (const value of [
        { never: 'right' },
        [{}],
        null,
        -1,
        'never\u0000right',
        Symbol.iterator.toString(),
        1.5,
      ]) {
        const tree: Record<string, unknown> = {}
        key.split('.').reduce((node, part, index, parts) => {
          node[part] = index === parts.length - 1 ? value : {}
          return node[part] as Record<string, unknown>
        }, tree)
        try {
          loadConfig({ file: file(JSON.stringify(tree)), env: {} })
        } catch (error) {
          const { message } = error as MusterError
          expect(message, `${key}=${JSON.stringify(value)}`).not.toMatch(/Invalid|Too (small|big)|undefined/)
          expect(message).toMatch(/expected|no setting has this name|is not one of its members/)
        }
      }
  })

  test('all problems are reported at once, each with its key and source', () => {
    const path = file('firmware: { port: 70000 }\ntftp: { windowBlocksMax: 0 }\nspeling: 1\n')
    const { code, problems } = problemsOf(() =>
      loadConfig({ file: path, env: { MUSTER_LOG_LEVEL: 'loud', MUSTER_NO_SUCH: '1' } }),
    )
    expect(code).toBe('config-invalid')
    const text = problems.join('\n')
    expect(text).toContain(`firmware.port: `)
    expect(text).toContain(`tftp.windowBlocksMax: `)
    expect(text).toContain('speling: no setting has this name')
    expect(text).toContain('(from MUSTER_LOG_LEVEL)')
    expect(text).toContain('MUSTER_NO_SUCH: no setting has this name')
    expect(text).toContain(`(from ${path})`)
  })

  test('a port that is empty, a word or a truth is not a port', () => {
    for (const value of ['', 'http', 'true', ' ', '8e3x']) {
      expect(problemsOf(() => loadConfig({ env: { MUSTER_FIRMWARE_PORT: value } })).code, value).toBe(
        'config-invalid',
      )
    }
    expect(problemsOf(() => loadConfig({ file: file('firmware: { port: true }\n'), env: {} })).code).toBe(
      'config-invalid',
    )
    expect(problemsOf(() => loadConfig({ file: file('firmware: { port: null }\n'), env: {} })).code).toBe(
      'config-invalid',
    )
  })

  test('a file that was named and is not there is an error; the default file may be missing', () => {
    expect(problemsOf(() => loadConfig({ file: '/nowhere/muster.yaml', env: {} })).code).toBe(
      'config-invalid',
    )
    expect(() => loadConfig({ env: {} })).not.toThrow()
  })

  test('a file that is not YAML, or a list, is said so', () => {
    expect(problemsOf(() => loadConfig({ file: file('a: [1'), env: {} })).problems[0]).toContain(
      'is not YAML',
    )
    expect(problemsOf(() => loadConfig({ file: file('- 1\n- 2\n'), env: {} })).problems[0]).toContain(
      'not a list',
    )
  })

  test('an empty MUSTER_CONFIG is none, as where nobody set it', () => {
    expect(loadConfig({ env: { MUSTER_CONFIG: '' } }).config.firmware.port).toBe(8080)
  })

  test('a key called __proto__ changes nothing', () => {
    expect(
      problemsOf(() =>
        loadConfig({
          file: file('__proto__: { polluted: 1 }\nfirmware: { __proto__: { port: 1 } }\n'),
          env: {},
        }),
      ).code,
    ).toBe('config-invalid')
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })
})
