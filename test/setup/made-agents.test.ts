/** What is served is told by what lies on the disk, whatever the settings say by now. */
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Status } from '../../src/http/admin-status.ts'
import { agentHardware, madeAgents, noteHardware } from '../../src/setup/made-agents.ts'
import { startServer } from '../support/server.ts'

let data: string
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-made-'))
})
afterEach(() => rm(data, { recursive: true, force: true }))

async function anAgent(arch: string, hardware?: 'virtual' | 'server'): Promise<string> {
  const folder = join(data, 'boot/agent', arch)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'kernel'), 'kernel')
  await writeFile(join(folder, 'initramfs'), 'initramfs')
  if (hardware !== undefined) await noteHardware(folder, hardware)
  return folder
}

const told = async (settings: Record<string, string>) => {
  await using server = await startServer({ data, settings })
  const { agents } = await server.api.call<Status>({ method: 'GET', path: '/status' })
  return agents.map(({ arch, hardware }) => [arch, hardware])
}

describe('the hardware that status names', () => {
  test('is that of the agent which is served, where the setting changed and nothing is made', async () => {
    await anAgent('amd64', 'virtual')
    expect(await told({ 'image.hardware': 'server' })).toEqual([['amd64', 'virtual']])
  })
  test('stays that where the build for the new setting failed', async () => {
    await anAgent('amd64', 'virtual')
    const empty = createServer((_, reply) => void reply.writeHead(404).end()).listen(0, '127.0.0.1')
    await once(empty, 'listening')
    const mirror = `http://127.0.0.1:${(empty.address() as AddressInfo).port}`
    const settings = { 'image.hardware': 'server', 'image.prepare': 'true', mirror }
    expect(await told(settings)).toEqual([['amd64', 'virtual']])
    empty.close()
  })
  test('is told for each architecture, also for one that the settings name no more', async () => {
    await anAgent('amd64', 'server')
    await anAgent('arm64', 'virtual')
    expect(await told({ 'image.architectures': 'amd64' })).toEqual([
      ['amd64', 'server'],
      ['arm64', 'virtual'],
    ])
  })
  test('is unknown of an agent that nothing is written beside, and is never guessed', async () => {
    await anAgent('amd64')
    expect(await told({ 'image.hardware': 'server' })).toEqual([['amd64', undefined]])
  })
})

test('an agent without its kernel is none', async () => {
  const folder = await anAgent('amd64', 'virtual')
  await rm(join(folder, 'kernel'))
  expect(await madeAgents({ boot: join(data, 'boot') })).toEqual([])
})

test('what is written beside an agent is replaced by what it is made as next', async () => {
  const folder = await anAgent('amd64', 'virtual')
  await noteHardware(folder, 'server')
  expect(await agentHardware(folder)).toBe('server')
})
