/** How long each step of a boot may be silent, and what is known of this place, in the words of machines/stalled.ts. */
import type { Config } from '../config/schema.ts'
import type { ExpectedMs, StallFacts } from '../machines/stalled.ts'
import type { Ports } from './listeners.ts'

export function expectedMsOf({ boots, stalls }: Pick<Config, 'boots' | 'stalls'>): ExpectedMs {
  const { blobs, dhcp, hello, kernel, kexec, loader, manifest, metadata, plan, script } = stalls
  const seconds = {
    ...{ dhcp, loader, script, kernel, hello, plan, metadata, manifest, blobs, kexec },
    network: hello,
    // A machine that waits for a person asks every few seconds.
    approval: plan,
    report: boots.abandonedSeconds,
  }
  return Object.fromEntries(
    Object.entries(seconds).map(([step, count]) => [step, count * 1000]),
  ) as ExpectedMs
}

export function stallFactsOf(config: Pick<Config, 'image'>, ports: Ports): StallFacts {
  return { hardware: config.image.hardware, ports }
}
