/** images/hello/report.js on the engine that runs it: what a taken-over server may write into report.json. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { skipReason, tool } from '../support/tools.ts'

const qjs = tool('qjs')
const source = join(import.meta.dirname, '../../images/hello/report.js')
const report = {
  url: 'https://192.0.2.1:8443/agent/v1/report',
  pin: `sha256//${Buffer.alloc(32, 7).toString('base64')}`,
  boot: 'b-aaaaaaaaaaaaaaaa',
  token: 't0ken',
}

describe.skipIf(qjs === undefined)(
  `the report of the hello image (${qjs ?? skipReason('qjs')})`,
  { timeout: 30_000 },
  () => {
    let folder: string
    let script: string
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'muster-hello-'))
      script = join(folder, 'report.js')
      const text = await readFile(source, 'utf8')
      await writeFile(
        script,
        text.replaceAll('/run/muster/', `${folder}/`).replace('/muster/report.json', `${folder}/report.json`),
      )
    })
    afterAll(() => rm(folder, { recursive: true }))

    async function run(change: object): Promise<void> {
      await writeFile(join(folder, 'report.json'), JSON.stringify({ ...report, ...change }))
      await rm(join(folder, 'url'), { force: true })
      await promisify(execFile)(qjs as string, ['--module', script])
    }

    test('goes where report.json says', async () => {
      await run({})
      expect(await readFile(join(folder, 'url'), 'utf8')).toBe(report.url)
      await run({ url: 'https://[2001:db8::1]:8443/' })
      expect(await readFile(join(folder, 'url'), 'utf8')).toBe('https://[2001:db8::1]:8443/agent/v1/report')
    })
    test.each([
      ['an option of curl for its address', { url: '-K/muster/curl.conf' }],
      ['another option', { url: '-o/init' }],
      ['a file', { url: 'file:///muster/report.json' }],
      ['an address without TLS', { url: 'http://192.0.2.1/' }],
      ['two addresses', { url: 'https://192.0.2.1/ https://192.0.2.66/' }],
      ['a key file for its pin', { pin: '/muster/evil.pem' }],
      ['a second header behind its token', { token: 'a\nHost: evil' }],
      ['no token', { token: undefined }],
    ])('does not start curl with %s', async (_, change) => {
      await expect(run(change)).rejects.toThrow()
      await expect(readFile(join(folder, 'url'))).rejects.toMatchObject({ code: 'ENOENT' })
    })
  },
)
