/** Network namespaces of benchmarks and labs, made for real: needs root and iproute2. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { namespaceNames } from '../../scripts/namespaces.ts'
import { tool } from '../support/tools.ts'

const ip = tool('ip')
const unable = process.getuid?.() !== 0 || ip === undefined

/** A process that ended and that nobody has waited for yet does not. */
function runs(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return false
  }
}

test.skipIf(unable).each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  'a program that %s ends takes its network namespaces and what runs in them along',
  async (signal) => {
    const name = `muster-test-${process.pid}-${signal}`.toLowerCase()
    const script = `
      import { spawn } from 'node:child_process'
      import { addNamespace, beforeSignalEnds, killChildren } from ${JSON.stringify(join(import.meta.dirname, '../../scripts/namespaces.ts'))}
      addNamespace(${JSON.stringify(ip)}, ${JSON.stringify(name)})
      const inside = spawn(${JSON.stringify(ip)}, ['netns', 'exec', ${JSON.stringify(name)}, 'sleep', '600'])
      const beside = spawn('sleep', ['600'])
      beforeSignalEnds(killChildren)
      setTimeout(() => console.log(inside.pid, beside.pid), 500)
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [said] = (await once(child.stdout!, 'data')) as [Buffer]
    const pids = said.toString().trim().split(' ')
    expect(pids.every(runs)).toBe(true)
    expect(namespaceNames()).toContain(name)
    child.kill(signal)
    expect(await once(child, 'exit')).toEqual([null, signal])
    expect(namespaceNames()).not.toContain(name)
    await expect.poll(() => pids.filter(runs)).toEqual([])
  },
)
