/** python-tuf, the reference implementation, as the judge of what we sign. MUSTER_PYTHON names another interpreter than the unpacked one. */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { skipReason, tool } from '../support/tools.ts'
import { openSite, publish, removeSite, type Served, type Site, serve } from './world.ts'

const python = process.env['MUSTER_PYTHON'] ?? tool('python-tuf')
const client = `
import inspect, sys
from tuf.ngclient import Updater
metadata_dir, url, path = sys.argv[1:4]
# Since version 6 the trusted root is an argument; None takes root.json of the folder, as before.
more = {"bootstrap": None} if "bootstrap" in inspect.signature(Updater).parameters else {}
updater = Updater(metadata_dir=metadata_dir, metadata_base_url=url + "/metadata/", target_base_url=url, **more)
updater.refresh()
target = updater.get_targetinfo(path)
print(target.length, target.hashes["sha256"], target.custom["releaseCounter"])
`

let site: Site
let served: Served
beforeEach(async () => {
  site = await openSite()
  served = await serve(site)
})
afterEach(async () => {
  await served[Symbol.asyncDispose]()
  await removeSite(site)
})

describe.skipIf(python === undefined)(`python-tuf${python ? '' : ` (${skipReason('python-tuf')})`}`, () => {
  const ask = async (path: string) => {
    const folder = join(site.data, 'python')
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'root.json'), (await site.releases.metadata('1.root.json')) as Uint8Array)
    const { stdout } = await promisify(execFile)(python as string, ['-c', client, folder, served.url, path])
    return stdout.trim()
  }

  it('verifies what we sign, through a new root and releases, and finds the same target', async () => {
    await publish(site, '1.0')
    await publish(site, '1.1', { floor: 2 })
    site.clock.nowMs += 200 * 86_400_000
    await site.releases.resignDue()
    expect(site.releases.catalog().trusted.versions.root).toBe(2)
    const { target } = site.releases.catalog().resolve({ image: 'edge', arch: 'amd64' })
    expect(await ask('edge/1.1/amd64')).toBe(`${target.length} ${target.sha256} 2`)
  })

  it('refuses the same repository when a byte was changed', async () => {
    await publish(site, '1.0')
    served.fault = (path, bytes) =>
      path.endsWith('targets.json') ? Buffer.from(Buffer.from(bytes).toString().replace('1.0', '1.1')) : bytes
    await expect(ask('edge/1.0/amd64')).rejects.toThrow(/LengthOrHashMismatch/)
  })
})
