/**
 * A process that is there to be killed: `node killed-process.ts publish|follow <data folder> [url]`. Each line that it prints is
 * an acknowledgement: what it says must be true for ever after.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { image, openSite, publish } from './world.ts'

const [work, data = '', url = ''] = process.argv.slice(2)
process.stdout.write('starting\n')

if (work === 'publish') {
  const site = await openSite({ data })
  process.stdout.write('ready\n')
  const published = site.releases.catalog().image('edge')?.releases.length ?? 0
  for (let number = published + 1; ; number += 1) {
    const version = `${number}.0`
    await publish(site, version, { source: image(version, { bytes: 300_000 }) })
    process.stdout.write(`${version}\n`)
  }
} else {
  const root = await readFile(join(data, 'pinned-root.json'))
  const site = await openSite({ data, upstream: { url, root } })
  process.stdout.write('ready\n')
  for (;;) {
    await site.releases.sync()
    process.stdout.write(`${site.releases.catalog().trusted.versions.timestamp}\n`)
  }
}
