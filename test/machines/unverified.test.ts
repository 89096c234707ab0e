import { expect, test } from 'vitest'
import { createFirmwareDecision } from '../../src/boot/firmware.ts'
import { ipxeScript } from '../../src/boot/languages/ipxe.ts'
import { whyText } from '../../src/cli/why-text.ts'
import { type AdminFacts, adminDeciders } from '../../src/setup/admin-deciders.ts'
import { createWorld, helloOf, sayHello } from './world.ts'

const mac = '52:54:00:12:34:56'
const memtest = {
  name: 'memtest',
  selector: { macs: [mac] },
  unverified: true,
  files: { kernel: 'memtest.efi', initrd: ['a.img'] },
}

async function withMemtest() {
  const world = await createWorld()
  const { machines } = world
  await machines.profiles.put(memtest)
  const { machine } = await sayHello(world, helloOf(mac))
  await machines.approve(mac, 'anna')
  const decide = createFirmwareDecision({
    facts: {
      findClaimed: machines.findClaimed,
      explain: ({ id }) => machines.why(id),
      recordUnverified: machines.recordUnverified,
      hasAgent: async () => true,
    },
  })
  const context = { agentArguments: () => [], agentServers: 'https://192.0.2.1:8443', mac }
  const script = async () => ipxeScript(await decide({ claimed: { mac }, address: '192.0.2.7' }), context)
  const events = async () =>
    (await machines.events({ machineId: machine.id })).filter(({ kind }) => kind === 'unverified')
  return { world, script, events }
}

test('firmware that gets files nobody signed says so on the screen, and it stands in the timeline', async () => {
  const { world, script, events } = await withMemtest()
  await using _ = world
  expect(
    await script(),
  ).toContain(`echo Muster: UNVERIFIED: this kernel comes from the files folder; nothing checked it
kernel ../files/memtest.efi initrd=initrd0  || goto failed
initrd --name initrd0 ../files/a.img || goto failed
boot || goto failed
`)
  expect(await events()).toMatchObject([
    {
      assurance: 'claimed',
      message: expect.stringContaining('files/memtest.efi, files/a.img'),
      data: { profile: 'memtest', address: '192.0.2.7' },
    },
  ])
})

test('whoever asks for the script without end leaves one event a minute', async () => {
  const { world, script, events } = await withMemtest()
  await using _ = world
  for (let count = 0; count < 20; count++) await script()
  expect(await events()).toHaveLength(1)
  world.pass(60_000)
  for (let count = 0; count < 20; count++) await script()
  expect(await events()).toHaveLength(2)
})

test('a machine that only says hello leaves none', async () => {
  const { world, script, events } = await withMemtest()
  await using _ = world
  await world.machines.quarantine(mac, 'anna')
  expect(await script()).not.toContain('UNVERIFIED')
  expect(await events()).toEqual([])
})

test('why says it, also of a profile that does not match', async () => {
  const { world } = await withMemtest()
  await using _ = world
  const { machine, profiles } = await world.machines.why(mac)
  expect(profiles).toMatchObject([{ name: 'memtest', matches: true, unverified: true }])
  const eligibility = { status: 'wait', reason: 'x' } as const
  expect(whyText({ machine, profiles, eligibility })).toContain(
    "UNVERIFIED: profile 'memtest' gives it files that nobody signed",
  )
  const other = profiles.map((one) => ({ ...one, matches: false }))
  expect(whyText({ machine, profiles: other, eligibility })).toContain('memtest (UNVERIFIED):')
})

test('whoever asks for the machine sees it', async () => {
  const { world } = await withMemtest()
  await using _ = world
  const { machines } = adminDeciders({ machines: world.machines } as AdminFacts)
  expect(await machines.get(mac)).toMatchObject({ unverified: 'memtest' })
  await world.machines.profiles.remove('memtest')
  expect(await machines.get(mac)).not.toHaveProperty('unverified')
})
