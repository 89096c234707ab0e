/** Whether there is something to boot: the agent, the boot loaders, the hello image, and an agent that knows the machines' hardware. */
import { type Facts, ok, trouble, unknown, type Verdict } from './check.ts'

type Prepared = NonNullable<Facts['prepared']>

export function judgePrepared({ prepared }: Pick<Facts, 'prepared'>): Verdict {
  if (prepared === undefined) return unknown('no server runs that could say what it has prepared')
  const { agents, missing } = prepared
  const failed = missing.filter(({ code }) => code !== 'preparing')
  if (failed.length > 0)
    return trouble(
      `${failedText(failed)}; ${servedText(agents)}`,
      failed.every(({ what }) => what === 'release metadata')
        ? "see 'metadata' below: a start makes none"
        : 'mend that and start the server again: a start makes what is missing',
    )
  const lacking = missing.filter(({ older }) => older !== true)
  if (lacking.length > 0)
    return trouble(
      `being made: ${namesOf(lacking)}; until then ${servedText(agents)}`,
      "wait for it: 'muster status' says when it is there",
    )
  if (agents.length === 0)
    return trouble(
      'no agent is here and none is being made, so no machine boots a verified image',
      "let a start make it (image.prepare: true, the default), or put kernel and initramfs of 'muster agent build' into boot/agent/<arch> of the data folder",
    )
  if (missing.length > 0) return ok(`being made again: ${namesOf(missing)}; until then ${servedText(agents)}`)
  if (agents.some(({ hardware }) => hardware === 'virtual'))
    return ok(
      `the agent is made for ${agentsText(agents)}; virtual has drivers of virtual machines only: for real ones set image.hardware: server and start again`,
    )
  return ok(`the agent is made for ${agentsText(agents)}`)
}

function failedText(failed: Prepared['missing']): string {
  const say = ({ reason, what }: Prepared['missing'][number]) => `${what} (${reason})`
  const gone = failed.filter(({ older }) => older !== true).map(say)
  const kept = failed.filter(({ older }) => older === true).map(say)
  return [
    ...(gone.length === 0 ? [] : [`missing: ${gone.join('; ')}`]),
    ...(kept.length === 0 ? [] : [`could not be made anew: ${kept.join('; ')}`]),
  ].join('; ')
}

function servedText(agents: Prepared['agents']): string {
  if (agents.length === 0) return 'no agent is here, so no machine boots a verified image'
  return `the agent that is here is served: ${agentsText(agents)}`
}

const namesOf = (missing: Prepared['missing']) => missing.map(({ what }) => what).join(', ')

const agentsText = (agents: Prepared['agents']) =>
  agents.map(({ arch, hardware }) => `${arch} (${hardware ?? 'unknown hardware'})`).join(', ')
