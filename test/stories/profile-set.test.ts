/** Setting a profile on a real server: what the first machine would find is said to the person who sets it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { muster } from '../cli/command-line.ts'
import { publishTiny, startServer } from '../support/server.ts'

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
