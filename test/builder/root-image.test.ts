/** fsck.erofs and umoci's rules judge the root file system that mkfs.erofs made of our tar. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { writeRootImage } from '../../src/builder/root-image.ts'
import { flatten } from '../../src/layers/flatten.ts'
import { directory, file, layerOf, link, symlink, tarOf, testLimits, whiteout } from '../layers/layers.ts'
import { skipReason, tool } from '../support/tools.ts'

const mkfs = tool('mkfs.erofs')
const fsck = tool('fsck.erofs')
const python = tool('python-tuf')
const seed = 'c0ffee'.repeat(12)

const layers = [
  [
    directory('./', { mode: 0o711 }),
    file('usr/bin/su', 'su'.repeat(4000), { mode: 0o4755, uid: 7, gid: 100_000 }),
    file('usr/bin/big', 'x'.repeat(300_000), { xattrs: { 'user.n': new Uint8Array([0, 0xff, 10]) } }),
    link('usr/bin/hard', 'usr/bin/su'),
    symlink('bin', 'usr/bin'),
    file('gone'),
    { name: 'dev/null', kind: 'character' as const, major: 1, minor: 3, mode: 0o666 },
    { name: 'dev/many', kind: 'block' as const, major: 259, minor: 300, mode: 0o600 },
    { name: 'pipe', kind: 'fifo' as const, mode: 0o620 },
  ],
  [whiteout('.wh.gone'), file('bin/new', 'new'), file('empty', ''), file('n\u00fc', 'n')],
]

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'muster-root-image-'))
  onTestFinished(() => rm(path, { recursive: true }))
  return path
}

async function imageOf(into: string, program = mkfs ?? ''): Promise<string> {
  await using flattened = await flatten({
    layers: layers.map((entries) => layerOf(tarOf(entries))),
    folder: into,
    limits: testLimits,
  })
  const path = join(into, 'rootfs.erofs')
  const size = await writeRootImage({ flattened, path, program, seed })
  expect((await readFile(path)).length).toBe(size)
  return path
}

describe.skipIf(mkfs === undefined)(
  `a root file system${mkfs ? '' : ` (${skipReason('mkfs.erofs')})`}`,
  () => {
    test('is the same bytes each time', async () => {
      const hashOf = async () =>
        createHash('sha256')
          .update(await readFile(await imageOf(await folder())))
          .digest('hex')
      expect(await hashOf()).toBe(await hashOf())
    })

    const canExtract = fsck !== undefined && python !== undefined && process.getuid?.() === 0
    test.skipIf(!canExtract)(
      'has every name, mode, owner, link, device and octet of the layers',
      async () => {
        const into = await folder()
        const image = await imageOf(into)
        const out = join(into, 'out')
        execFileSync(fsck ?? '', [`--extract=${out}`, '--preserve', '--xattrs', image], { stdio: 'pipe' })
        const list = join(import.meta.dirname, '../layers/list-tree.py')
        const tree = JSON.parse(execFileSync(python ?? '', [list, out], { encoding: 'utf8' })) as Record<
          string,
          object
        >
        const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
        const plain = { uid: 0, gid: 0, xattrs: {} }
        const su = {
          ...plain,
          kind: 'file',
          mode: 0o4755,
          uid: 7,
          gid: 100_000,
          links: 2,
          sha256: sha256('su'.repeat(4000)),
        }
        expect(tree).toEqual({
          '.': { ...plain, kind: 'directory', mode: 0o711 },
          bin: { ...plain, kind: 'symlink', mode: 0o777, links: 1, target: 'usr/bin' },
          dev: { ...plain, kind: 'directory', mode: 0o755 },
          'dev/many': { ...plain, kind: 'block', mode: 0o600, links: 1, device: [259, 300] },
          'dev/null': { ...plain, kind: 'character', mode: 0o666, links: 1, device: [1, 3] },
          empty: { ...plain, kind: 'file', mode: 0o644, links: 1, sha256: sha256('') },
          'n\u00c3\u00bc': { ...plain, kind: 'file', mode: 0o644, links: 1, sha256: sha256('n') },
          pipe: { ...plain, kind: 'fifo', mode: 0o620, links: 1 },
          usr: { ...plain, kind: 'directory', mode: 0o755 },
          'usr/bin': { ...plain, kind: 'directory', mode: 0o755 },
          'usr/bin/big': {
            ...{ ...plain, kind: 'file', mode: 0o644, links: 1, sha256: sha256('x'.repeat(300_000)) },
            xattrs: { 'user.n': '00ff0a' },
          },
          'usr/bin/hard': su,
          'usr/bin/new': { ...plain, kind: 'file', mode: 0o644, links: 1, sha256: sha256('new') },
          'usr/bin/su': su,
        })
      },
    )
  },
)

test('a program that fails is quoted', async () => {
  await expect(imageOf(await folder(), '/bin/false')).rejects.toMatchObject({
    code: 'build-failed',
    message: 'mkfs.erofs ended with 1: it said nothing.',
  })
})
