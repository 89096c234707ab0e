/** The server's TUF client for tuf-conformance (CONTRIBUTING.md says how to run the suite). */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { createNodeCrypto } from '../src/crypto/node.ts'
import { runConformanceCommand } from './tuf-conformance-command.ts'

process.exitCode = await runConformanceCommand(process.argv.slice(2), {
  crypto: createNodeCrypto(),
  print: (line) => console.error(line),

  async fetch(url, maxBytes) {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) })
    if (response.status === 403 || response.status === 404) return undefined
    if (!response.ok) throw new Error(`status ${response.status}`)
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of response.body ?? []) {
      length += chunk.length
      chunks.push(chunk)
      if (length > maxBytes) break
    }
    return Buffer.concat(chunks)
  },

  async read(path) {
    try {
      return await readFile(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  },

  async write(path, bytes) {
    await writeFile(`${path}.new`, bytes)
    await rename(`${path}.new`, path)
  },
})
