/** umoci's unpacking of the same layers is the judge: the same names, kinds, modes, owners, links, devices, xattrs and data. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Flattened, flatten } from '../../src/layers/flatten.ts'
import type { Inode } from '../../src/layers/inode.ts'
import { skipReason, tool } from '../support/tools.ts'
import {
  directory,
  file,
  layerOf,
  link,
  symlink,
  type TestEntry,
  tarOf,
  testLimits,
  whiteout,
  writeLayout,
} from './layers.ts'

const capability = new Uint8Array([1, 0, 0, 2, 0x80, 0xff, 0xc3, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
const long = 'long-'.repeat(45)

/** Each image: its layers, the lowest first. */
const images: Record<string, TestEntry[][]> = {
  'permissions, owners, set-uid and sticky bits': [
    [
      directory('./', { mode: 0o711 }),
      directory('tmp/', { mode: 0o1777 }),
      file('bin/su', 'su', { mode: 0o4755 }),
      file('bin/wall', 'wall', { mode: 0o2755, gid: 5 }),
      file('etc/shadow', 'secret', { mode: 0, uid: 7, gid: 42 }),
      file('home/big', 'big', { uid: 3_000_000, gid: 4_000_000_000 }),
    ],
  ],
  'files and folders taken away': [
    [
      directory('a'),
      file('a/1'),
      file('a/2'),
      directory('b'),
      file('b/1'),
      directory('b/c'),
      file('b/c/1'),
      file('stays'),
    ],
    [whiteout('a/.wh.1'), whiteout('.wh.b'), whiteout('.wh.never-was'), whiteout('a/.wh.nor-this')],
  ],
  'a whiteout before and behind a file of its own layer': [
    [file('x', 'old'), file('y', 'old'), directory('d'), file('d/old')],
    [
      whiteout('.wh.x'),
      file('x', 'new'),
      file('y', 'new'),
      whiteout('.wh.y'),
      file('d/new'),
      whiteout('.wh.d'),
    ],
  ],
  'an opaque folder, with entries of its own layer on both sides of the marker': [
    [
      directory('d', { mode: 0o700 }),
      file('d/old'),
      directory('d/sub'),
      file('d/sub/old'),
      directory('e'),
      file('e/old'),
    ],
    [
      file('d/before'),
      whiteout('d/.wh..wh..opq'),
      file('d/after'),
      file('d/sub/new'),
      directory('e'),
      whiteout('e/.wh..wh..opq'),
    ],
  ],
  'hard links within a layer, into a lower one, and names of them taken away': [
    [file('one', 'data', { mode: 0o600 }), link('two', 'one'), link('three', './two'), file('other')],
    [link('four', '/one'), whiteout('.wh.one'), link('deep/er/five', 'other')],
    [whiteout('.wh.two'), file('three', 'its own')],
  ],
  'devices and a pipe': [
    [
      { name: 'dev/null', kind: 'character', major: 1, minor: 3, mode: 0o666 },
      { name: 'dev/sda', kind: 'block', major: 8, minor: 0, mode: 0o660, gid: 6 },
      { name: 'dev/many', kind: 'block', major: 259, minor: 300, mode: 0o600 },
      { name: 'run/pipe', kind: 'fifo', mode: 0o620 },
      link('dev/zero', 'dev/null'),
    ],
  ],
  'xattrs that are no text': [
    [
      file('bin/ping', 'ping', {
        mode: 0o755,
        xattrs: { 'security.capability': capability, 'user.zero': new Uint8Array([0]) },
      }),
      directory('d', { xattrs: { 'user.on-a-folder': new Uint8Array([0xff, 0x0a, 0x3d]) } }),
      file('lower', 'x', { xattrs: { 'user.gone': new Uint8Array([1]) } }),
    ],
    [file('lower', 'x'), directory('d', { mode: 0o750 })],
  ],
  'long names, names that are no UTF-8, blanks and newlines': [
    [
      file(`${long}/${long}/${long}`),
      symlink('link', `${long}/${long}`),
      link(`${long}/again`, `${long}/${long}/${long}`),
      file('white space'),
      file('new\nline'),
      file('ümläut/日本'),
      file('-rf'),
    ],
  ],
  'folders behind symlinks, as in a merged /usr': [
    [
      directory('usr/lib'),
      symlink('lib', 'usr/lib'),
      symlink('abs', '/usr'),
      symlink('up', '../../../usr'),
      file('usr/lib/old'),
    ],
    [
      file('lib/one'),
      file('abs/lib/two'),
      file('up/three'),
      directory('lib/modules'),
      link('lib/four', 'abs/lib/two'),
    ],
    [whiteout('lib/.wh.old'), whiteout('abs/.wh.three')],
  ],
  'one kind of entry over another': [
    [
      directory('was-folder'),
      file('was-folder/x'),
      file('was-file'),
      symlink('was-link', 'usr'),
      directory('usr'),
      file('usr/x'),
      symlink('to', 'usr'),
    ],
    [
      file('was-folder', 'now a file'),
      directory('was-file', { mode: 0o700 }),
      file('was-file/y'),
      directory('was-link'),
      file('was-link/z'),
    ],
    [directory('usr', { mode: 0o500, uid: 9 }), file('to', 'now a file')],
  ],
  'names as tar programs write them: ./, /, doubled slashes, no parents': [
    [
      directory('./'),
      file('./a/b/c'),
      file('/etc/passwd'),
      file('x//y'),
      directory('z/'),
      symlink('s', 'a'),
      link('t', 's'),
    ],
    [directory('./a/', { mode: 0o700 }), file('s/d')],
  ],
}

const umoci = tool('umoci')
const python = tool('python-tuf')
// It gives files their owners, and makes devices.
const isRoot = process.getuid?.() === 0
const lacking =
  umoci === undefined ? skipReason('umoci') : python === undefined ? skipReason('python-tuf') : 'needs root'
const runs = umoci !== undefined && python !== undefined && isRoot

describe.skipIf(!runs)(`layers as umoci unpacks them${runs ? '' : ` (${lacking})`}`, () => {
  test.each(Object.entries(images))('%s', async (_, layers) => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-umoci-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const tars = layers.map(tarOf)
    await writeLayout(join(folder, 'layout'), tars)
    const run = (program: string, args: string[]) =>
      execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' })
    run(umoci ?? '', ['unpack', '--image', `${join(folder, 'layout')}:image`, join(folder, 'bundle')])
    const theirs = run(python ?? '', [
      join(import.meta.dirname, 'list-tree.py'),
      join(folder, 'bundle/rootfs'),
    ])
    await using flattened = await flatten({
      layers: tars.map((tar) => layerOf(tar)),
      folder,
      limits: testLimits,
    })
    expect(await listTree(flattened)).toEqual(JSON.parse(theirs))
  })
})

/** As list-tree.py prints it. */
async function listTree({ tree, read }: Flattened): Promise<Record<string, unknown>> {
  const listed: Record<string, unknown> = {}
  const add = async (inode: Inode, name: string): Promise<void> => {
    listed[name || '.'] = await describeInode(inode, read)
    if (inode.kind !== 'directory') return
    for (const [child, place] of inode.children)
      await add(place.inode, name === '' ? child : `${name}/${child}`)
  }
  await add(tree.root.inode, '')
  return listed
}

async function describeInode(inode: Inode, read: Flattened['read']) {
  const { kind, mode, uid, gid } = inode
  const xattrs = Object.fromEntries(
    [...inode.xattrs].map(([key, value]) => [key, Buffer.from(value).toString('hex')]),
  )
  const common = { kind, mode, uid, gid, xattrs, ...(kind === 'directory' ? {} : { links: inode.links }) }
  if (kind === 'symlink') return { ...common, target: inode.target }
  if (kind === 'character' || kind === 'block') return { ...common, device: [inode.major, inode.minor] }
  if (kind !== 'file') return common
  const hash = createHash('sha256')
  for await (const bytes of read(inode.at, inode.size)) hash.update(bytes)
  return { ...common, sha256: hash.digest('hex') }
}
