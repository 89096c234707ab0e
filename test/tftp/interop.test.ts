/** Real clients read from our server: they judge whether we speak the protocol that is spoken outside. */
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../src/log.ts'
import type { TransferReport } from '../../src/tftp/reports.ts'
import type { TftpServer } from '../../src/tftp/server.ts'
import { type EngineChoice, startTftpServer } from '../../src/tftp/start.ts'
import { skipReason, tool } from '../support/tools.ts'

const run = promisify(execFile)

/** 204 801 blocks of 512 bytes: the block number goes through 0 three times. */
const hundredMegabytes = 100 * 1024 * 1024 + 123
const files: Record<string, Buffer> = {
  small: randomBytes(1_000_003),
  exact: randomBytes(8192 * 16),
  empty: Buffer.alloc(0),
  large: Buffer.concat(Array.from({ length: 101 }, () => randomBytes(1024 * 1024))).subarray(
    0,
    hundredMegabytes,
  ),
}

let server: TftpServer
let port = 0
let folder = ''
let reports: TransferReport[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-tftp-'))
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
})

afterAll(() => rm(folder, { recursive: true, force: true }))

async function serve(engine: EngineChoice): Promise<void> {
  server = await startTftpServer({
    log: silentLog,
    engine,
    // Loopback carries 64 KiB packets, so that blksize 8192 is not cut down.
    limits: { mtuBytes: 65_535 },
    onTransfer: (report) => reports.push(report),
    open: async ({ filename }) => {
      const handle = await open(join(folder, filename))
      return {
        size: (await handle.stat()).size,
        descriptor: handle.fd,
        read: async (offset, length) => {
          const { bytesRead, buffer } = await handle.read(Buffer.alloc(length), 0, length, offset)
          return buffer.subarray(0, bytesRead)
        },
        close: () => handle.close(),
      }
    },
  })
  port = (await server.listen({ host: '127.0.0.1', port: 0 })).port
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** Lets a client fetch `name` to a file, and compares it. Gives what the server says about the transfer. */
async function fetched(
  name: string,
  client: (target: string) => { program: string; args: string[] },
): Promise<TransferReport> {
  reports = []
  const target = join(folder, `${name}-${randomBytes(4).toString('hex')}`)
  const { program, args } = client(target)
  await run(program, args, { cwd: folder, timeout: 120_000, maxBuffer: 64 * 1024 * 1024 })
  expect(await sha256OfFile(target)).toBe(sha256(files[name] as Buffer))
  for (let step = 0; step < 100 && reports.length === 0; step += 1)
    await new Promise((resolve) => setTimeout(resolve, 10))
  await rm(target)
  const report = reports[0]
  if (report === undefined) throw new Error('the server did not report the transfer')
  expect(report.outcome).toBe('completed')
  return report
}

const blocks = [512, 1468, 8192]
const windows = [1, 4, 16]

describe.each<EngineChoice>(['dgram', 'batched'])('through %s', (engine) => {
  beforeAll(() => serve(engine))
  afterAll(() => server[Symbol.asyncDispose]())

  describe('atftp', () => {
    const program = tool('atftp')
    const reads =
      (name: string, blksize: number, windowsize: number) =>
      (target: string): { program: string; args: string[] } => ({
        program: program ?? '',
        args: [
          ...[
            '--option',
            `blksize ${blksize}`,
            '--option',
            `windowsize ${windowsize}`,
            '--option',
            'tsize 0',
          ],
          ...['-g', '-r', name, '-l', target, '127.0.0.1', String(port)],
        ],
      })

    for (const blksize of blocks)
      for (const windowsize of windows)
        test(`reads with blksize ${blksize} and windowsize ${windowsize}`, async (context) => {
          if (program === undefined) return context.skip(skipReason('atftp'))
          const report = await fetched('small', reads('small', blksize, windowsize))
          // 16 blocks of 8192 bytes overflow a receive buffer of the usual size: half of it is granted.
          const granted = Math.min(windowsize, Math.floor(65_536 / blksize))
          expect(report).toMatchObject({ blockBytes: blksize, windowBlocks: granted })
        })

    test('reads a file that ends with a full block, and an empty one', async (context) => {
      if (program === undefined) return context.skip(skipReason('atftp'))
      await fetched('exact', reads('exact', 8192, 4))
      await fetched('empty', reads('empty', 1468, 1))
    })

    for (const [blksize, windowsize] of [
      [512, 1],
      [1468, 16],
    ] as const)
      test(`reads 100 MB with blksize ${blksize} and windowsize ${windowsize}, past block 65535`, async (context) => {
        if (program === undefined) return context.skip(skipReason('atftp'))
        await fetched('large', reads('large', blksize, windowsize))
      }, 120_000)
  })

  describe('curl', () => {
    const program = tool('curl')
    for (const [name, blksize] of [
      ...blocks.map((size) => ['small', size] as const),
      ['large', 8192] as const,
    ])
      test(`reads ${name} with blksize ${blksize}`, async (context) => {
        if (program === undefined) return context.skip(skipReason('curl'))
        const report = await fetched(name, (target) => ({
          program,
          args: [
            ...['--silent', '--show-error', '--tftp-blksize', String(blksize)],
            ...['-o', target, `tftp://127.0.0.1:${port}/${name}`],
          ],
        }))
        expect(report).toMatchObject({ blockBytes: blksize, windowBlocks: 1 })
      }, 120_000)

    test('reads without any option', async (context) => {
      if (program === undefined) return context.skip(skipReason('curl'))
      await fetched('small', (target) => ({
        program,
        args: ['--silent', '--tftp-no-options', '-o', target, `tftp://127.0.0.1:${port}/small`],
      }))
    })
  })

  describe('tftp-hpa', () => {
    const program = tool('tftp')
    for (const name of Object.keys(files))
      test(`reads ${name}`, async (context) => {
        if (program === undefined) return context.skip(skipReason('tftp'))
        const report = await fetched(name, (target) => ({
          program,
          args: ['-m', 'binary', '127.0.0.1', String(port), '-c', 'get', name, target],
        }))
        expect(report.blockBytes).toBe(512)
      }, 120_000)
  })
})
