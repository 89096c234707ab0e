/**
 * A process that dies: `node killed-process.ts publish|remove|follow|init <data folder> <operation> [url]`. Just before it asks the
 * system for that file operation (counted from 1) it kills itself with SIGKILL, so that no moment between two operations escapes a
 * test. Each line it prints is an acknowledgement: what it says must be true for ever after.
 *
 *     ready                        operations are counted from here (with `init`: from the start)
 *     <what was done> <operations so far>
 */
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'

const [work, data = '', killAt = '0', url = ''] = process.argv.slice(2)
let counting = work === 'init'
let operations = 0

function before<Args extends unknown[], Result>(operation: (...args: Args) => Result) {
  return function (this: unknown, ...args: Args): Result {
    if (counting) operations += 1
    if (counting && operations === Number(killAt)) process.kill(process.pid, 'SIGKILL')
    return operation.apply(this, args)
  }
}

const handle = await fs.open(process.execPath)
const handles = Object.getPrototypeOf(handle)
await handle.close()
for (const name of ['write', 'writeFile', 'sync', 'truncate']) handles[name] = before(handles[name])
Object.assign(fs, {
  open: before(fs.open),
  rename: before(fs.rename),
  rm: before(fs.rm),
  mkdir: before(fs.mkdir),
  link: before(fs.link),
  writeFile: before(fs.writeFile),
})
syncBuiltinESMExports()

const { image, openSite, publish, withdraw } = await import('./world.ts')
const say = (what: string) => process.stdout.write(`${what}\n`)

if (work === 'follow') {
  const root = await fs.readFile(join(data, 'pinned-root.json'))
  const site = await openSite({ data, upstream: { url, root } })
  counting = true
  say('ready')
  await site.releases.sync()
  say(`${site.releases.catalog().trusted.versions.timestamp} ${operations}`)
} else if (work === 'remove') {
  // The newest, so that the channel changes with it; there has to be one before it.
  const site = await openSite({ data })
  const [newest, before] = site.releases.catalog().image('edge')?.releases ?? []
  counting = true
  say('ready')
  await withdraw(site, newest?.version ?? '', before?.version)
  say(`${newest?.version} ${operations}`)
} else {
  const site = await openSite({ data })
  counting = true
  say('ready')
  const number = (site.releases.catalog().image('edge')?.releases.length ?? 0) + 1
  const version = `${number}.0`
  await publish(site, version, { source: image(version, { bytes: 200_000 }) })
  say(`${version} ${operations}`)
}
process.exit(0)
