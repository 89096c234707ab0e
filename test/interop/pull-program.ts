/** A program that pulls one image into a blob store, to be killed: pull-program.ts REGISTRY NAME TAG FOLDER. */
import { silentLog } from '../../src/log.ts'
import { pullInto } from '../../src/oci/pull.ts'
import { createRegistryClient } from '../../src/oci/registry.ts'
import { createTransport } from '../../src/oci/transport.ts'
import { createBlobStore } from '../../src/store/blobs.ts'

const [registry = '', name = '', tag = '', directory = ''] = process.argv.slice(2)
await using transport = createTransport()
const source = createRegistryClient({
  fetch: transport.fetch,
  hosts: { [registry]: { plainHttp: true } },
}).repository({ registry, name })
const resolved = await source.resolve({ tag }, { arch: 'amd64' })
const sink = createBlobStore({ directory, log: silentLog })
const done = await pullInto({
  source,
  sink,
  manifests: [resolved],
  onProgress: ({ fetchedBytes }) => process.stdout.write(`${fetchedBytes}\n`),
})
process.stdout.write(`done ${JSON.stringify(done)}\n`)
