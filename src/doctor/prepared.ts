/** Whether there is something to boot: the agent, the boot loaders, the hello image, and an agent that knows the machines' hardware. */
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

export function judgePrepared({ prepared }: Pick<Facts, 'prepared'>): Verdict {
  if (prepared === undefined) return unknown('no server runs that could say what it has prepared')
  const { agents, missing } = prepared
  if (missing.length > 0)
    return trouble(
      `missing, so no machine boots: ${missing.map(({ what, reason }) => `${what} (${reason})`).join('; ')}`,
      'mend that and start the server again: a start makes what is missing',
    )
  const all = agents.map(({ arch, hardware }) => `${arch} (${hardware ?? 'unknown hardware'})`).join(', ')
  if (agents.some(({ hardware }) => hardware === 'virtual'))
    return ok(
      `the agent is made for ${all}; virtual has drivers of virtual machines only: for real ones set image.hardware: server and start again`,
    )
  return ok(`the agent is made for ${all}`)
}
