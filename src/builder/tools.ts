/**
 * Unpacks the programs and the firmware that tests use (QEMU, OVMF, skopeo, …) without installing them: a tree of Debian 13's files, and for each program a
 * script that starts it by the tree's own loader with the tree's own libraries, whatever the machine's are.
 *
 *     <folder>/tree/usr/…          the files, all packages together
 *     <folder>/bin/<name>          the scripts: put this folder on PATH
 *     <folder>/unpacked/<name>     what was unpacked for it: a hash of its part of the lock
 */
import { createHash } from 'node:crypto'
import { mkdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { MusterError } from '../errors.ts'
import { type DebEntry, readDeb } from './deb.ts'
import { type DownloadOptions, fetchPackages } from './download.ts'
import { isElf, readElf } from './elf.ts'
import { type Architecture, type Lock, lockedPackages } from './lock.ts'
import { libraryFolders } from './tree.ts'

type Program = {
  path: string
  /** What it is started with beside its own arguments; `$tree` is the tree. */
  arguments?: string
  /** What its environment needs. */
  environment?: string
}

const python = {
  path: 'usr/bin/python3.13',
  environment: 'PYTHONHOME="$tree/usr" PYTHONDONTWRITEBYTECODE=1; export PYTHONHOME PYTHONDONTWRITEBYTECODE',
}
const emulator = (architecture: string): Program => ({
  path: `usr/bin/qemu-system-${architecture}`,
  arguments: '-L "$tree/usr/share/qemu" -L "$tree/usr/share/seabios" -L "$tree/usr/lib/ipxe/qemu"',
  environment: 'QEMU_MODULE_DIR="$tree/$libraries/qemu"; export QEMU_MODULE_DIR',
})

const programs: Record<string, Program> = {
  atftp: { path: 'usr/bin/atftp' },
  curl: { path: 'usr/bin/curl' },
  dhcpd: { path: 'usr/sbin/dhcpd' },
  'docker-registry': { path: 'usr/bin/docker-registry' },
  dumpimage: { path: 'usr/bin/dumpimage' },
  'fsck.erofs': { path: 'usr/bin/fsck.erofs' },
  'fsck.fat': { path: 'usr/sbin/fsck.fat' },
  mcopy: { path: 'usr/bin/mtools', arguments: '-c mcopy' },
  'kea-dhcp4': { path: 'usr/sbin/kea-dhcp4' },
  'mkfs.erofs': { path: 'usr/bin/mkfs.erofs' },
  mkimage: { path: 'usr/bin/mkimage' },
  objdump: { path: 'usr/bin/objdump' },
  openssl: {
    path: 'usr/bin/openssl',
    environment: 'OPENSSL_MODULES="$tree/$libraries/ossl-modules"; export OPENSSL_MODULES',
  },
  oras: { path: 'usr/bin/oras' },
  'qemu-system-aarch64': emulator('aarch64'),
  'qemu-system-x86_64': emulator('x86_64'),
  // Python with the module tuf.
  'python-tuf': python,
  qjs: { path: 'usr/bin/qjs' },
  readelf: { path: 'usr/bin/readelf' },
  sbsign: { path: 'usr/bin/sbsign' },
  sbverify: { path: 'usr/bin/sbverify' },
  skopeo: { path: 'usr/bin/skopeo' },
  tftp: { path: 'usr/bin/tftp' },
  ukify: { ...python, arguments: '"$tree/usr/bin/ukify"' },
  'virt-fw-vars': { ...python, arguments: '"$tree/usr/bin/virt-fw-vars"' },
  umoci: { path: 'usr/bin/umoci' },
  xz: { path: 'usr/bin/xz' },
}

/** Packages of data, which have nothing to start: the files by which they are known to be whole, below the tree. */
const dataPackages: Record<string, readonly string[]> = {
  aavmf: ['usr/share/AAVMF/AAVMF_CODE.no-secboot.fd', 'usr/share/AAVMF/AAVMF_VARS.fd'],
  ovmf: [
    'usr/share/OVMF/OVMF_CODE_4M.fd',
    'usr/share/OVMF/OVMF_CODE_4M.secboot.fd',
    'usr/share/OVMF/OVMF_VARS_4M.fd',
    'usr/share/OVMF/OVMF_VARS_4M.ms.fd',
  ],
  'u-boot': ['usr/lib/u-boot/qemu_arm64/u-boot.bin'],
}

export const toolNames: readonly string[] = Object.keys(programs)
export const dataNames: readonly string[] = Object.keys(dataPackages)

const wantedFiles = /^usr\/(bin|sbin|lib|lib64|libexec|share\/(qemu|seabios|OVMF|AAVMF|qemu-efi-aarch64))\//

/**
 * Gives the path of a script for each program, and of the tree for each package of data. What is there already is left alone.
 * @throws package-missing, download-failed as fetchPackages
 * @throws build-failed for a name that is not in `toolNames` or `dataNames`, for a machine that is neither amd64 nor arm64, and where a library or a
 * file is missing
 */
export async function ensureTools(
  options: Omit<DownloadOptions, 'cacheDir'> & {
    names: readonly string[]
    lock: Lock
    /** Downloaded packages are kept here. */
    cacheDir: string
    /** `.cache/tools` */
    folder: string
  },
): Promise<Map<string, string>> {
  const { names, lock, folder, cacheDir } = options
  const arch = hostArchitecture()
  const paths = new Map<string, string>()
  for (const name of names) {
    const program = programs[name]
    const wanted = program === undefined ? dataPackages[name] : [program.path]
    if (wanted === undefined)
      throw new MusterError(
        'build-failed',
        `'${name}' is not among the tools: ${[...toolNames, ...dataNames].join(', ')}.`,
      )
    const packages = lockedPackages(lock, [name], arch)
    const state = createHash('sha256')
      .update(JSON.stringify([packages, program ?? wanted]))
      .digest('hex')
    const marker = join(folder, 'unpacked', name)
    paths.set(name, program === undefined ? join(folder, 'tree') : join(folder, 'bin', name))
    if ((await readFile(marker, 'utf8').catch(() => '')) === state) continue
    const files = await fetchPackages(packages, { ...options, cacheDir })
    const tree = new Map<string, DebEntry>()
    for (const file of files.values())
      for (const [path, entry] of await readDeb(file, (each) => wantedFiles.test(each))) tree.set(path, entry)
    checkFiles(tree, wanted, arch)
    for (const entry of tree.values()) await writeEntry(join(folder, 'tree'), entry)
    if (program !== undefined)
      await writeFileIn(join(folder, 'bin'), name, wrapperScript(name, program, arch), 0o755)
    await writeFileIn(join(folder, 'unpacked'), name, state, 0o644)
  }
  return paths
}

/** Finds the tree beside itself, so that a checkout may be moved. */
function wrapperScript(name: string, program: Program, arch: Architecture): string {
  const { path, arguments: more = '', environment = ':' } = program
  const loader = arch === 'amd64' ? 'usr/lib64/ld-linux-x86-64.so.2' : 'usr/lib/ld-linux-aarch64.so.1'
  return `#!/bin/sh
# Runs ${name} as Debian built it, from files that are not installed.
tree=$(CDPATH= cd -- "$(dirname -- "$0")/../tree" && pwd) || exit 127
libraries=${libraryFolders[arch][0]}
${environment}
exec "$tree/${loader}" --library-path "$tree/$libraries" "$tree/${path}" ${more} "$@"
`
}

/** A static program loads nothing; everything else must find its libraries in the tree, not on the machine. */
function checkFiles(
  tree: ReadonlyMap<string, DebEntry>,
  wanted: readonly string[],
  arch: Architecture,
): void {
  const queue = [...wanted]
  const seen = new Set<string>()
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    if (seen.has(path)) continue
    seen.add(path)
    const entry = tree.get(path)
    if (entry === undefined)
      throw new MusterError(
        'build-failed',
        `${wanted[0]} needs ${path}, which is in none of the locked packages.`,
      )
    if (entry.type === 'symlink') queue.push(join(dirname(path), entry.target))
    else if (isElf(entry.bytes))
      queue.push(...readElf(entry.bytes, path).needed.map((name) => `${libraryFolders[arch][0]}/${name}`))
  }
}

async function writeEntry(root: string, entry: DebEntry): Promise<void> {
  const path = join(root, entry.path)
  await mkdir(dirname(path), { recursive: true })
  // Links of the tree may stand in the path: what counts is where it leads.
  const parent = await realpath(dirname(path))
  const tree = await realpath(root)
  if (!isBelow(tree, parent)) throw leadsOut(entry.path)
  await rm(path, { force: true })
  if (entry.type === 'file') return await writeFile(path, entry.bytes, { mode: entry.mode })
  // To an absolute path Debian links what an installed system has, and nothing here needs.
  if (entry.target.startsWith('/')) return
  // After a name, which may itself be a link, `..` leads anywhere.
  const names = entry.target.split('/')
  const climbs = names.some((name, index) => name === '..' && index > 0 && names[index - 1] !== '..')
  if (climbs || !isBelow(tree, resolve(parent, entry.target))) throw leadsOut(entry.path)
  await symlink(entry.target, path)
}

const isBelow = (root: string, path: string) => path === root || path.startsWith(`${root}/`)

function leadsOut(path: string): MusterError {
  return new MusterError(
    'build-failed',
    `The package's ${path} leads out of the folder of tools; it is not unpacked.`,
  )
}

async function writeFileIn(folder: string, name: string, text: string, mode: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, name), text, { mode })
}

function hostArchitecture(): Architecture {
  if (process.arch === 'x64') return 'amd64'
  if (process.arch === 'arm64') return 'arm64'
  throw new MusterError(
    'build-failed',
    `There are no test tools for ${process.arch}: only for x64 and arm64.`,
  )
}
