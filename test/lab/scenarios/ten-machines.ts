/** A rack is switched on: ten small PCs at once, one server. */
import { makeBridge, serverAddress, startDnsmasq } from '../network.ts'
import { type Joined, type RackMachine, rackJoins } from '../rack.ts'
import { tableLines } from '../results.ts'
import type { Measured, Scenarios } from '../scenario.ts'

const count = 10
/**
 * What a machine needs to boot the hello image: the agent's root in memory, the image twice (as files, and as kexec's copy), 32 MiB to
 * spare, and then the booted system's own unpacked root beside its kernel.
 */
const memoryMiB = 256
/** Ten emulated processors share what this machine has: on two cores each is five times as slow as alone. */
const timeoutMs = 1_500_000

export const tenMachinesScenarios: Scenarios = {
  'ten-machines': {
    about: `SeaBIOS, iPXE ROM, ${count} machines with ${memoryMiB} MiB each, switched on at once`,
    async run() {
      const taps = makeBridge(count)
      await using _dhcp = await startDnsmasq([`dhcp-boot=autoexec.ipxe,muster,${serverAddress}`])
      const machines = taps.map(
        (tap, index): RackMachine => ({
          name: `machine-${index + 1}`,
          mac: `52:54:00:77:00:${String(50 + index)}`,
          tap,
          memoryMiB,
        }),
      )
      const joined = await rackJoins({
        machines,
        timeoutMs,
        // What each does in between would be 150 lines.
        prints: ({ kind }) => kind === 'hello' || kind === 'outcome' || kind === 'stalled',
      })
      const names = new Set(joined.map(({ console }) => /hello: (\S+) \(/.exec(console)?.[1]))
      if (names.size !== count) throw new Error(`${count} machines joined as ${names.size}`)
      return summary(joined)
    },
  },
}

/** Prints a row for each machine; gives the median of each step. */
function summary(joined: readonly Joined[]): Measured {
  const rows = joined.map(({ seconds, totalSeconds }) => [
    ...seconds,
    { step: 'total', seconds: totalSeconds },
  ])
  const steps = (rows[0] ?? []).map(({ step }) => step)
  const of = (step: string) =>
    rows
      .flatMap((row) => row.find((each) => each.step === step)?.seconds ?? [])
      .toSorted((one, other) => one - other)
  const table = joined.map(({ name }, index) => [
    name,
    ...steps.map((step) => rows[index]?.find((each) => each.step === step)?.seconds.toFixed(1) ?? ''),
  ])
  const each = (name: string, choose: (times: readonly number[]) => number) => [
    name,
    ...steps.map((step) => choose(of(step)).toFixed(1)),
  ]
  const last = [each('median', median), each('slowest', (times) => times.at(-1) ?? 0)]
  for (const line of tableLines(['machine', ...steps], [...table, ...last])) console.log(line)
  return {
    seconds: steps.filter((step) => step !== 'total').map((step) => ({ step, seconds: median(of(step)) })),
  }
}

function median(sorted: readonly number[]): number {
  const middle = Math.floor(sorted.length / 2)
  const [below = 0, above = 0] = [sorted[middle - 1 + (sorted.length % 2)], sorted[middle]]
  return (below + above) / 2
}
