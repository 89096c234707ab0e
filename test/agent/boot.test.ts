import { describe, expect, test } from 'vitest'
import { mac, World } from './world.ts'

async function createWorld(): Promise<World> {
  const world = new World()
  world.release()
  await world.listen()
  return world
}

describe('a boot that nothing is wrong with', () => {
  test('the machine verifies its release, loads it with the signed arguments and starts it', async () => {
    await using world = await createWorld()
    const { lines, started } = await world.boot()
    expect(lines.slice(0, 9)).toEqual([
      'muster: network: eth0 has 10.0.2.15/24',
      `muster: hello: machine-1 (m-aaaaaaaaaaaaaaaa), boot b-aaaaaaaaaaaaaaaa, at ${world.url}`,
      'muster: plan: hello/1.0.0/amd64, issued 2026-06-01T12:00:00Z',
      'muster: plan: because the only profile matches every machine',
      'muster: metadata: verified, timestamp 1, targets 1',
      expect.stringMatching(/^muster: manifest: verified, sha256:[0-9a-f]{64}$/),
      'muster: blobs: fetching 0.8 MB in 3 files',
      'muster: blobs: verified',
      'muster: kexec: starting hello/1.0.0/amd64',
    ])
    expect(started).toBe(true)
    const content = `${world.folders.work}/content`
    expect(world.read('kexec.log').toString()).toBe(
      `-s -l ${content}/kernel --command-line=root=/dev/ram0 ro console=ttyS0 --initrd=${content}/initrd\n-e\n`,
    )
    expect(world.read('loaded-kernel')).toEqual(Buffer.alloc(300_000, 'kernel '))
  })

  test('a kernel without kexec_file_load, as Debian makes it for arm64, is loaded the older way', async () => {
    await using world = await createWorld()
    const log = `printf '%s\\n' "$*" >> '${world.folder}/kexec.log'`
    world.program(
      'kexec',
      `${log}\ncase "$*" in\n-s*) echo 'syscall kexec_file_load not available.' >&2; exit 255 ;;\n-e) touch '${world.folder}/started' ;;\nesac`,
    )
    const { started } = await world.boot()
    expect(started).toBe(true)
    const [first, second] = world.read('kexec.log').toString().split('\n')
    expect(second).toBe(first!.replace(/^-s /, '-c -i '))
  })

  test("the plan's files lie in an archive before the signed initrd", async () => {
    await using world = await createWorld()
    await world.boot()
    const loaded = world.read('loaded-initrd')
    const split = loaded.length - 500_000
    expect(loaded.subarray(split)).toEqual(Buffer.alloc(500_000, 'initrd '))
    expect(loaded.subarray(0, 6).toString()).toBe('070701')
    expect(loaded.subarray(0, split).includes('muster/report.json')).toBe(true)
  })

  test('several initrds stand one behind the other, in their order', async () => {
    await using world = new World()
    world.release({ layers: { initrds: [Buffer.from('microcode!!!'), Buffer.alloc(70_000, 'second')] } })
    await world.listen()
    await world.boot()
    const tail = Buffer.concat([Buffer.from('microcode!!!'), Buffer.alloc(70_000, 'second')])
    expect(world.read('loaded-initrd').subarray(-tail.length)).toEqual(tail)
  })

  test.each([70_000, 70_001, 70_002, 70_003])(
    'a root file system of %i bytes is one file in an archive behind the initrds',
    async (bytes) => {
      await using world = new World()
      const rootfs = Buffer.alloc(bytes, 'root file system ')
      // Of a length that is no multiple of four, as compressed ones are.
      world.release({ layers: { initrds: [Buffer.alloc(50_001, 'initrd')], rootfs } })
      await world.listen()
      const { started } = await world.boot()
      expect(started).toBe(true)
      const loaded = world.read('loaded-initrd')
      const at = loaded.lastIndexOf('070701', loaded.indexOf('rootfs\0'))
      expect(at % 4).toBe(0)
      // Zeros and nothing else between the initrd and the archive.
      expect(loaded.subarray(0, at).toString('latin1')).toMatch(
        /initrd\0{0,3}$|initr\0{0,3}$|init\0{0,3}$|ini\0{0,3}$|in\0{0,3}$|i\0{0,3}$/,
      )
      const field = (index: number) =>
        Number.parseInt(loaded.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16)
      expect([field(1), field(6), field(11)]).toEqual([0o100400, bytes, 'rootfs\0'.length])
      const data = at + 110 + 7 + 3
      expect(loaded.subarray(data, data + bytes).equals(rootfs)).toBe(true)
      const trailer = loaded.subarray(data + bytes).toString('latin1')
      expect(trailer).toMatch(/^\0{0,3}070701[0-9a-f]{104}TRAILER!!!\0+$/)
      expect(loaded.lastIndexOf('070701') % 4).toBe(0)
    },
  )

  test('a device tree is handed to kexec, which then loads the older way', async () => {
    await using world = new World()
    world.release({ layers: { dtb: Buffer.from('d00dfeed') } })
    await world.listen()
    const { started } = await world.boot()
    expect(started).toBe(true)
    expect(world.read('kexec.log').toString()).toMatch(/^-c -i -l .* --dtb=\S+\/content\/dtb$/m)
  })

  test('the server hears every step with its time and the memory it took, all signed by the session', async () => {
    await using world = await createWorld()
    await world.boot()
    const done = world.events.filter(({ status }) => status === 'done').map(({ step }) => step)
    expect(done).toEqual(['network', 'hello', 'plan', 'metadata', 'manifest', 'blobs', 'kexec'])
    const blobs = world.events.find(({ step, status }) => step === 'blobs' && status === 'done')
    expect(blobs?.data).toMatchObject({
      imageBytes: 800_018,
      blobs: 3,
      peakMemoryBytes: (1_048_576 - 900_000) * 1024,
    })
    expect(world.events.some(({ status, bytes }) => status === 'progress' && bytes! > 0)).toBe(true)
    expect(world.badSignatures).toEqual([])
  })

  test('hello says what the machine is, from SMBIOS and its interfaces', async () => {
    await using world = await createWorld()
    await world.boot()
    expect(world.hellos[0]).toMatchObject({
      protocol: 1,
      agent: { arch: 'amd64', origin: 'network' },
      identifiers: { macs: [mac], uuid: 'c0ffee00-1111-2222-3333-444444444444' },
      hardware: {
        vendor: 'QEMU',
        hardwareIds: ['QEMU,Standard PC'],
        memoryBytes: 1_073_741_824,
        processors: 2,
        firmware: 'bios',
      },
    })
  })

  test("a board says its device tree's compatible strings", async () => {
    await using world = await createWorld()
    world.write('proc/device-tree/compatible', 'raspberrypi,4-model-b\0brcm,bcm2711\0')
    world.write('proc/device-tree/serial-number', '10000000abcdef\0')
    await world.boot()
    expect(world.hellos[0]).toMatchObject({
      identifiers: { serial: '10000000abcdef' },
      hardware: { hardwareIds: ['raspberrypi,4-model-b', 'brcm,bcm2711'] },
    })
  })

  test('the report token is on no console, in no event and in no program argument', async () => {
    await using world = await createWorld()
    const { lines } = await world.boot()
    const everything = [
      lines.join('\n'),
      JSON.stringify(world.events),
      world.read('kexec.log').toString(),
    ].join('\n')
    expect(everything).not.toContain('t0ken')
  })
})

describe('waiting and going on', () => {
  test('a machine that is not approved asks again until it is', async () => {
    await using world = await createWorld()
    world.changePlanReply = (reply, count) =>
      count < 3 ? { status: 'wait', reason: 'not approved yet', retrySeconds: 5 } : reply
    const { lines, host, started } = await world.boot()
    expect(started).toBe(true)
    expect(lines.filter((line) => line.includes('waiting'))).toEqual([
      'muster: approval: waiting: not approved yet',
    ])
    expect(host.slept.filter((delayMs) => delayMs === 5000)).toHaveLength(2)
    expect(world.events.filter(({ step }) => step === 'approval').map(({ status }) => status)).toEqual([
      'started',
      'done',
    ])
  })

  test('a server cannot make it ask faster than once a second, or never again', async () => {
    await using world = await createWorld()
    world.changePlanReply = (reply, count) =>
      count < 3 ? { status: 'wait', reason: 'x', retrySeconds: count === 1 ? -1e9 : 1e9 } : reply
    const { host } = await world.boot()
    expect(host.slept).toEqual(expect.arrayContaining([1000, 300_000]))
  })

  test('a machine without a profile says why and restarts, so that the firmware goes on', async () => {
    await using world = await createWorld()
    world.changePlanReply = () => ({ status: 'skip', reason: 'no profile matches' })
    const { ending, lines, started } = await world.boot()
    expect(ending).toBe('restart')
    expect(started).toBe(false)
    expect(lines.at(-1)).toBe('muster: skip: no profile matches; restarting, so that the firmware goes on')
  })

  test('half of its lease later a waiting machine asks DHCP again', async () => {
    await using world = await createWorld()
    world.program(
      'udhcpc',
      `echo asked >> '${world.folder}/udhcpc.log'; printf '%s\\n' ip=10.0.2.15 mask=24 lease=60 > '${world.folder}/run/lease'`,
    )
    world.changePlanReply = (reply, count) =>
      count < 3 ? { status: 'wait', reason: 'x', retrySeconds: 20 } : reply
    await world.boot()
    expect(world.read('udhcpc.log').toString()).toBe('asked\nasked\n')
  })
})
