/** Setting a profile on a real server: what the first machine would find is said to the person who sets it. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { muster } from '../cli/command-line.ts'
import { publishTiny, startServer, type TestServer } from '../support/server.ts'

test('a profile whose image is not published is refused, taken in advance when asked, and a tie names the other', async () => {
  await using server = await startServer()
  await publishTiny(server, 'edge-os/1.0.0')
  const file = join(server.data, 'profile.yaml')
  const set = async (name: string, yaml: string, ...flags: string[]) => {
    await writeFile(file, yaml)
    return muster(['profile', 'set', name, '-f', file, '--data', server.data, ...flags])
  }
  const wrong = 'image: { name: edgeos, channel: stable }\n'
  const right = 'image: { name: edge-os, channel: stable }\n'

  const refused = await set('all', wrong)
  expect(refused).toMatchObject({ code: 1, out: '' })
  expect(refused.err).toMatch(/no image is called 'edgeos' \(did you mean 'edge-os'\?\).*--unpublished/s)
  expect(refused.err).toContain('(profile-invalid: ')
  await expect(
    server.api.call({
      method: 'PUT',
      path: '/profiles/all',
      body: { image: { name: 'edgeos', channel: 'stable' } },
    }),
  ).rejects.toMatchObject({ code: 'profile-invalid' })
  expect(await server.api.call({ method: 'GET', path: '/profiles' })).toEqual({ items: [] })

  const ahead = await set('all', wrong, '--unpublished')
  expect(ahead.code).toBe(0)
  expect(ahead.err).toMatch(/^warning: until it is published no machine gets it: no image is called 'edgeos'/)
  const good = await set('all', right)
  expect(good).toMatchObject({ code: 0, err: '' })

  const tie = await set('others', right)
  expect(tie.code).toBe(0)
  expect(tie.err).toMatch(
    /^warning: profile 'all' fits every machine as well as 'others' does \(profile-tie\)/,
  )
  const { warnings } = await server.api.call<{ warnings: string[] }>({
    method: 'PUT',
    path: '/profiles/others',
    body: { image: { name: 'edge-os', version: '1.0.0' } },
  })
  expect(warnings).toEqual([expect.stringContaining("profile 'all' fits every machine")])
})

test('a profile whose files are not there is set, and each is named with its member and the setting', async () => {
  const document = {
    unverified: true,
    files: { kernel: 'memtest.efi', initrd: ['extra.img'] },
    menu: { memtest: 'tools/memtest.efi' },
    firmware: { deviceTree: 'board.dtb', deviceTrees: 'dtbs' },
  }
  const warningsOf = async (server: TestServer) => {
    const request = { method: 'PUT', path: '/profiles/test', body: document }
    const { warnings = [] } = await server.api.call<{ warnings?: string[] }>(request)
    return warnings
  }
  await using bare = await startServer()
  expect(
    (await warningsOf(bare)).map((one) => /^nothing serves (\S+ \(\S+\)) .*--files DIR$/.exec(one)?.[1]),
  ).toEqual([
    'memtest.efi (files.kernel)',
    'extra.img (files.initrd.0)',
    'tools/memtest.efi (menu.memtest)',
    'board.dtb (firmware.deviceTree)',
    'dtbs (firmware.deviceTrees)',
  ])
  const files = join(bare.data, 'operator')
  await mkdir(join(files, 'tools'), { recursive: true })
  for (const name of ['memtest.efi', 'tools/memtest.efi']) await writeFile(join(files, name), 'x')
  await using served = await startServer({ settings: { files } })
  expect(await warningsOf(served)).toEqual([
    `no machine gets extra.img (files.initrd.0) out of the folder ${files} (setting 'files'): There is no file 'extra.img'`,
    expect.stringContaining('board.dtb (firmware.deviceTree)'),
  ])
  for (const name of ['extra.img', 'board.dtb']) await writeFile(join(files, name), 'x')
  expect(await warningsOf(served)).toEqual([])
})
