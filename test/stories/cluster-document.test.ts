/** `muster cluster show` and `muster cluster set`: what one prints, the other takes, and nothing changes by it. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createClusters } from '../../src/cluster/clusters.ts'
import { silentLog } from '../../src/log.ts'
import { openDatabase } from '../../src/store/database.ts'
import { muster } from '../cli/command-line.ts'
import { startServer } from '../support/server.ts'

const token = 'K10d2f1::node:abc123'
const written = `name: factory
kind: static
files:
  - name: k3s.yaml
    mode: "0640"
    template: |
      server: https://192.0.2.20:6443
      token: {{secret.token}}
  - name: motd
    format: text
    template: "a\\ttab, a bell \\a and \\u202e\\u0085 in it\\r\\nand a line that is longer than any terminal is wide, so that it would be folded {{machine.name}}\\n"
secrets:
  token:
    value: ${token}
    allowUnattested: true
`

test.each([
  ['YAML for people', []],
  ['JSON for programs', ['--json']],
])('a cluster that is shown as %s and set again is the same cluster', async (_, how) => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-cluster-'))
  const machine = { id: 'm-aaaaaaaaaaaaaaaa', name: 'rack-7', labels: {} }
  const file = join(folder, 'cluster.yaml')
  const data = join(folder, 'data')
  const rendered = async () => {
    await using database = await openDatabase({ path: join(data, 'muster.db'), log: silentLog })
    return createClusters({ database, now: () => new Date(0), log: silentLog }).render('factory', machine)
  }
  const cli = async (...argv: string[]) => {
    const { code, err, out } = await muster([...argv, '--data', data])
    expect([code, err]).toEqual([0, ''])
    return out
  }
  try {
    await writeFile(file, written)
    let shown: string
    {
      await using _server = await startServer({ data })
      await cli('cluster', 'set', '-f', file)
    }
    const before = await rendered()
    {
      await using _server = await startServer({ data })
      shown = await cli('cluster', 'show', 'factory', ...how)
      expect(shown).toMatch(/"?mode"?: "0640"/)
      expect(shown).not.toContain(token)
      // Shown on a terminal, it does not drive it.
      expect(shown).not.toMatch(/[\t\r\u0007\u0085\u202e]/)
      await writeFile(file, shown)
      await cli('cluster', 'set', 'factory', '-f', file)
      expect(await cli('cluster', 'show', 'factory', ...how)).toBe(await readFile(file, 'utf8'))
      if (how.length === 0) expect(shown).toContain('# Secrets are never shown')
    }
    expect(await rendered()).toEqual(before)
    expect(before).toMatchObject([{ mode: 0o640 }, { mode: 0o600 }])
    expect(Buffer.from(before[0]?.bytes ?? '', 'base64').toString()).toContain(token)
    expect(Buffer.from(before[1]?.bytes ?? '', 'base64').toString()).toContain('\ttab, a bell')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
