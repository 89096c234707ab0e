/**
 * The agent's TUF client for tuf-conformance, bundled by test/interop/tuf-conformance.test.ts and run by qjs.
 * JavaScript, because `os` is QuickJS's module here and Node's everywhere else under scripts/.
 *
 *     qjs --module bundle.js <scratch folder> <the suite's arguments …>
 */
import * as std from 'std'
import { createOpensslHost, readFile, run, writeFile } from '../src/agent/tuf-shims/blocking.ts'
import { provideCrypto } from '../src/agent/tuf-shims/crypto.ts'
import { createOpensslCrypto } from '../src/crypto/openssl.ts'
import { runConformanceCommand } from './tuf-conformance-command.ts'

const [, scratch, ...argv] = globalThis.scriptArgs
const crypto = createOpensslCrypto(createOpensslHost(scratch))
provideCrypto(crypto)

const status = await runConformanceCommand(argv, {
  crypto,
  print: (line) => console.log(line),

  async fetch(url, maxBytes) {
    const body = `${scratch}/body`
    const limits = ['--max-filesize', String(maxBytes), '--max-time', '10']
    const { code, stdout } = run([
      ...['curl', '--silent', '--show-error', '--path-as-is', '--globoff'],
      ...limits,
      ...['--output', body, '--write-out', '%{http_code}', '--', url],
    ])
    if (code !== 0) throw new Error(`curl ended with ${code}`)
    const answer = String.fromCharCode(...stdout)
    if (answer === '403' || answer === '404') return undefined
    if (answer !== '200') throw new Error(`status ${answer}`)
    return readFile(body, maxBytes) ?? new Uint8Array()
  },

  read: async (path) => readFile(path, 10_000_000),
  write: async (path, bytes) => writeFile(path, bytes, 0o644),
})
std.exit(status)
