/** One boot: the steps in their order, once. */
import type { Agent } from './agent.ts'
import { createMirrorOrder } from './mirrors.ts'
import { serversToAsk } from './servers.ts'
import type { Session } from './session.ts'
import { fetchArtifact, fetchContent } from './steps/content.ts'
import { hello } from './steps/hello.ts'
import { loadKernel, startKernel } from './steps/kexec.ts'
import { network } from './steps/network.ts'
import { chooseRelease } from './steps/target.ts'
import { getPlan, type NoPlan, stillValid } from './steps/verified-plan.ts'

/** What a round knows of the one before it, and tells the next: which server had the session. */
export type Rounds = { server?: string }

/**
 * Ends in the booted kernel, so it returns only when the server has nothing for this machine (`skip`), or nothing yet and there are
 * others to ask (`elsewhere`: what it waits for).
 * @throws MusterError of the step that failed
 */
export async function bootOnce(agent: Agent, rounds: Rounds = {}): Promise<NoPlan> {
  const { console, limits, reporter, settings } = agent
  reporter.attach(undefined)
  const net = await reporter.during('network', () => network(agent))
  const servers = serversToAsk(settings, net.bootHosts, rounds.server)
  const session = await reporter.during('hello', () => hello(agent, servers))
  rounds.server = session.server
  reporter.attach(session)
  const { reply, server, hardwareIds } = session
  await console.line(`hello: ${reply.name} (${reply.machine}), boot ${reply.boot}, at ${server}`)
  await reporter.flush()

  // Several addresses of one server are no others to ask: another one has a key of its own.
  const others = servers.length > 1 && settings.config.pins.length > 1
  const patienceMs = others ? limits.waitElsewhereMs : Number.POSITIVE_INFINITY
  const mirrors = createMirrorOrder([...reply.mirrors, ...settings.config.mirrors])
  const source = { session, net, mirrors, patienceMs }
  const first = await getPlan(agent, source)
  if (!('plan' in first)) return first

  const { plan, refreshed } = first
  const artifact = await reporter.during('manifest', async () => {
    const release = await chooseRelease(agent, plan, { refreshed, mirrors, hardwareIds })
    reporter.note({ target: release.path, releaseCounter: release.custom.releaseCounter })
    return fetchArtifact(agent, mirrors, release)
  })
  await console.line(`manifest: verified, ${plan.manifestDigest}`)
  const content = await reporter.during('blobs', () => fetchContent(agent, mirrors, artifact, plan))
  await console.line('blobs: verified')
  const last = await stillValid(agent, first, source)
  if (!('plan' in last)) return last
  await reporter.during('kexec', () => loadKernel(agent, content, last.plan))
  await console.line(`kexec: starting ${last.plan.target}`)
  await farewell(agent, session)
  return startKernel(agent)
}

/** The last events of this kernel: once kexec starts, nobody is left to send them. */
async function farewell(agent: Agent, session: Session): Promise<void> {
  if (await agent.reporter.flush({ attempts: 2 })) return
  await agent.console.line(`report: ${session.server} does not take the last events; going on without`)
}
