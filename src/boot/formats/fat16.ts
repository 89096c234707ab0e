/**
 * A FAT16 file system without a partition table, as a Raspberry Pi's boot loader takes it for boot.img and UEFI for a small
 * system partition (Microsoft, FAT: General Overview of On-Disk Format 1.03; long names: FAT Long Name Specification there).
 *
 *     sector 0         boot sector: BIOS parameter block, signature 55 aa at 510
 *     1 …              one file allocation table: 2 bytes a cluster, ffff the last of a chain
 *     then             root folder: entries of 32 bytes, a multiple of 16
 *     then             clusters 2, 3, …: files and folders, each in a row
 *
 * Number of clusters decides the kind of FAT (4,085 to 65,524 are FAT16), so small contents get empty clusters. The same files
 * give the same bytes: no time, no serial number of a clock, order by name.
 */
import { MusterError } from '../../errors.ts'

const sectorBytes = 512
const entryBytes = 32
/** As the vendor's own images have it (raspberrypi/usbboot, make-boot-image). */
const rootEntriesMin = 256
const clustersMin = 4085
const clustersMax = 65_524
const sectorsPerClusterMax = 64
const attributes = { volume: 0x08, folder: 0x10, archive: 0x20, longName: 0x0f } as const
/** FAT begins in 1980: 1 January, day 1 of month 1 (a date of zero is no date). */
const firstDay = (1 << 5) | 1

type Folder = { kind: 'folder'; children: Map<string, Node> }
type File = { kind: 'file'; bytes: Uint8Array }
type Node = Folder | File
/** What a folder's entry points at. */
type Placed = { cluster: number }

/**
 * @param files by path with `/` between folders (`overlays/disable-bt.dtbo`); names are compared without case.
 * @param options.label of the volume, at most 11 characters.
 * @throws MusterError `build-failed` for a path that FAT cannot hold, a name that stands twice, or more than 2 GB
 */
export function encodeFat16(
  files: Readonly<Record<string, Uint8Array>>,
  options: { label: string },
): Uint8Array {
  const root = toTree(files)
  const rootEntries = Math.max(rootEntriesMin, roundUp(1 + entryCount(root), sectorBytes / entryBytes))
  const sectorsPerCluster = chooseClusterSize(root)
  const clusterBytes = sectorsPerCluster * sectorBytes
  const clusters = Math.max(clustersMin, clustersOf(root, clusterBytes, { isRoot: true }))
  const fatSectors = Math.ceil(((clusters + 2) * 2) / sectorBytes)
  const rootStart = (1 + fatSectors) * sectorBytes
  const dataStart = rootStart + rootEntries * entryBytes
  const image = Buffer.alloc(dataStart + clusters * clusterBytes)
  writeBootSector(image, { sectorsPerCluster, rootEntries, fatSectors, label: options.label })

  const fat = image.subarray(sectorBytes, rootStart)
  fat.writeUInt16LE(0xfff8, 0)
  fat.writeUInt16LE(0xffff, 2)
  let next = 2
  /** Clusters in a row, linked; 0 for nothing, as an empty file has it. */
  function allocate(bytes: number): { cluster: number; at: Buffer } {
    const count = Math.ceil(bytes / clusterBytes)
    if (count === 0) return { cluster: 0, at: Buffer.alloc(0) }
    const cluster = next
    next += count
    for (let each = cluster; each < next; each++)
      fat.writeUInt16LE(each + 1 === next ? 0xffff : each + 1, each * 2)
    const start = dataStart + (cluster - 2) * clusterBytes
    return { cluster, at: image.subarray(start, start + count * clusterBytes) }
  }

  function place(node: Node, parent: number): Placed {
    if (node.kind === 'file') {
      const { cluster, at } = allocate(node.bytes.length)
      at.set(node.bytes)
      return { cluster }
    }
    const { cluster, at } = allocate((2 + entryCount(node)) * entryBytes)
    const dots = [
      shortEntry(bareName('.'), attributes.folder, cluster, 0),
      shortEntry(bareName('..'), attributes.folder, parent, 0),
    ]
    at.set(Buffer.concat([...dots, ...entriesOf(node, cluster)]))
    return { cluster }
  }

  function entriesOf(folder: Folder, cluster: number): Buffer[] {
    return [...folder.children].flatMap(([name, node], index) => {
      const placed = place(node, cluster)
      const isFile = node.kind === 'file'
      const kind = isFile ? attributes.archive : attributes.folder
      return namedEntries(name, index, (short) =>
        shortEntry(short, kind, placed.cluster, isFile ? node.bytes.length : 0),
      )
    })
  }

  const label = shortEntry(bareName(options.label.toUpperCase()), attributes.volume, 0, 0)
  image.set(Buffer.concat([label, ...entriesOf(root, 0)]), rootStart)
  return image
}

function toTree(files: Readonly<Record<string, Uint8Array>>): Folder {
  const root: Folder = { kind: 'folder', children: new Map() }
  for (const path of Object.keys(files).sort()) {
    const parts = path.split('/')
    const name = parts.pop() as string
    let folder = root
    for (const part of parts) {
      const there = child(folder, part, path)
      const below: Node = there ?? { kind: 'folder', children: new Map() }
      if (below.kind === 'file') throw invalid(path, `${part} is a file already`)
      folder.children.set(part, below)
      folder = below
    }
    if (child(folder, name, path) !== undefined) throw invalid(path, 'that name stands there twice')
    folder.children.set(name, { kind: 'file', bytes: files[path] as Uint8Array })
  }
  return root
}

function child(folder: Folder, name: string, path: string): Node | undefined {
  if (!/^[A-Za-z0-9 $%'\-_@~`!(){}^#&.+,;=[\]]{1,255}$/.test(name) || /^\.|[. ]$/.test(name))
    throw invalid(path, `'${name}' is no name that FAT holds`)
  for (const [known, node] of folder.children) {
    if (known.toUpperCase() !== name.toUpperCase()) continue
    if (known === name) return node
    throw invalid(path, `${known} is there already, and FAT does not tell case apart`)
  }
  return undefined
}

const longEntriesOf = (name: string) => Math.ceil(name.length / 13)
const entryCount = (folder: Folder): number =>
  [...folder.children.keys()].reduce((sum, name) => sum + 1 + longEntriesOf(name), 0)

function clustersOf(node: Node, clusterBytes: number, { isRoot = false } = {}): number {
  if (node.kind === 'file') return Math.ceil(node.bytes.length / clusterBytes)
  const own = isRoot ? 0 : Math.ceil(((2 + entryCount(node)) * entryBytes) / clusterBytes)
  return [...node.children.values()].reduce((sum, each) => sum + clustersOf(each, clusterBytes), own)
}

function chooseClusterSize(root: Folder): number {
  for (let sectors = 1; sectors <= sectorsPerClusterMax; sectors *= 2)
    if (clustersOf(root, sectors * sectorBytes, { isRoot: true }) <= clustersMax) return sectors
  throw new MusterError('build-failed', 'The files are more than the 2 GB that a FAT16 file system holds.')
}

function writeBootSector(
  image: Buffer,
  layout: { sectorsPerCluster: number; rootEntries: number; fatSectors: number; label: string },
): void {
  const sectors = image.length / sectorBytes
  image.set([0xeb, 0x3c, 0x90], 0)
  image.write('MUSTER  ', 3, 'latin1')
  image.writeUInt16LE(sectorBytes, 11)
  image.writeUInt8(layout.sectorsPerCluster, 13)
  image.writeUInt16LE(1, 14)
  image.writeUInt8(1, 16)
  image.writeUInt16LE(layout.rootEntries, 17)
  if (sectors < 0x10000) image.writeUInt16LE(sectors, 19)
  else image.writeUInt32LE(sectors, 32)
  image.writeUInt8(0xf8, 21)
  image.writeUInt16LE(layout.fatSectors, 22)
  // Geometry, which nothing reads any more and everything expects.
  image.writeUInt16LE(32, 24)
  image.writeUInt16LE(64, 26)
  image.writeUInt8(0x80, 36)
  image.writeUInt8(0x29, 38)
  image.write(layout.label.toUpperCase().slice(0, 11).padEnd(11), 43, 'latin1')
  image.write('FAT16   ', 54, 'latin1')
  image.writeUInt16LE(0xaa55, 510)
}

function shortEntry(name: Buffer, kind: number, cluster: number, bytes: number): Buffer {
  const entry = Buffer.alloc(entryBytes)
  entry.set(name)
  entry.writeUInt8(kind, 11)
  for (const at of [16, 18, 24]) entry.writeUInt16LE(firstDay, at)
  entry.writeUInt16LE(cluster, 26)
  entry.writeUInt32LE(bytes, 28)
  return entry
}

const bareName = (name: string) => Buffer.from(name.slice(0, 11).padEnd(11), 'latin1')

/**
 * Every name is written long: FAT's short ones are upper case, and boot loaders compare. Its short one is made of its number in
 * the folder, so that no two are alike.
 */
function namedEntries(name: string, index: number, finish: (short: Buffer) => Buffer): Buffer[] {
  const dot = name.lastIndexOf('.')
  const plain = (text: string) => text.toUpperCase().replace(/[^A-Z0-9]/g, '_')
  const tail = `~${index + 1}`
  const stem = plain(dot > 0 ? name.slice(0, dot) : name).slice(0, 8 - tail.length)
  const extension = dot > 0 ? plain(name.slice(dot + 1)).slice(0, 3) : ''
  const short = Buffer.from(`${`${stem}${tail}`.padEnd(8)}${extension.padEnd(3)}`, 'latin1')
  return [...longEntries(name, shortNameSum(short)), finish(short)]
}

/** Last part first; 13 UTF-16 units each, ended by 0000 and filled with ffff. */
function longEntries(name: string, sum: number): Buffer[] {
  const count = longEntriesOf(name)
  return Array.from({ length: count }, (_, place) => {
    const order = count - place
    const entry = Buffer.alloc(entryBytes)
    entry.writeUInt8(order | (place === 0 ? 0x40 : 0), 0)
    entry.writeUInt8(attributes.longName, 11)
    entry.writeUInt8(sum, 13)
    for (let unit = 0; unit < 13; unit++) {
      const at = (order - 1) * 13 + unit
      const value = at < name.length ? name.charCodeAt(at) : at === name.length ? 0 : 0xffff
      entry.writeUInt16LE(
        value,
        unit < 5 ? 1 + unit * 2 : unit < 11 ? 14 + (unit - 5) * 2 : 28 + (unit - 11) * 2,
      )
    }
    return entry
  })
}

/** What ties long entries to their short one. */
function shortNameSum(short: Buffer): number {
  return short.reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0)
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step
}

function invalid(path: string, reason: string): MusterError {
  return new MusterError('build-failed', `${path} cannot be put into the image: ${reason}.`)
}
