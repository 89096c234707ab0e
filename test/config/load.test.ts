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
    expect(sources.get('agent.port')).toBe('--agent.port')
  })

  test('a list may be written with commas in the environment', () => {
    expect(
      loadConfig({ env: { MUSTER_IMAGE_ARCHITECTURES: 'amd64, arm64' } }).config.image.architectures,
    ).toEqual(['amd64', 'arm64'])
  })

  test('a flag of yes and no may be text', () => {
    expect(loadConfig({ env: { MUSTER_TFTP_ENABLED: 'false' } }).config.tftp.enabled).toBe(false)
  })

  test('every setting has an environment name of its own', () => {
    const names = configKeys().map(environmentName)
    expect(new Set(names).size).toBe(names.length)
  })
})

describe('a wrong configuration', () => {
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
