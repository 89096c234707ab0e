/** `muster status`: planes, what is missing, agents, when metadata expires. */
import type { Command } from 'commander'
import { missingLine, type Status } from '../http/admin-status.ts'
import type { Context } from './context.ts'
import { ago, bytes, facts, print, printable, table } from './output.ts'

export function addStatus(program: Command, context: Context): void {
  program
    .command('status')
    .description('planes and addresses, what is missing, agents, expiries')
    .action(async () => {
      const status = await context.api().call<Status>({ method: 'GET', path: '/status' })
      print(context.output(), status, () => statusText(status, context.world.now()))
    })
}

export function statusText(status: Status, nowMs: number): string {
  const machines = Object.entries(status.machines).map(([enrolment, count]) => `${count} ${enrolment}`)
  const parts = [
    facts([
      ['ready', status.ready ? 'yes' : 'no'],
      ['version', status.version],
      ['started', ago(status.startedAt, nowMs)],
      ['data', status.data],
      ['machines', machines.join(', ') || 'none yet'],
      ['pin', status.pin],
      ['unknown', unknownText(status.unknownFiles)],
    ]),
    table(
      ['PLANE', 'URL', 'NOTE'],
      status.planes.map(({ name, url, note }) => [name, url, note ?? '']),
      'No plane is up.',
    ),
    table(
      ['AGENT', 'HARDWARE', 'KERNEL', 'INITRAMFS', 'MADE'],
      status.agents.map((agent) => [
        agent.arch,
        agent.hardware ?? '-',
        bytes(agent.kernelBytes),
        bytes(agent.initramfsBytes),
        ago(agent.madeAt, nowMs),
      ]),
      "No agent is here; 'muster agent build' makes one.",
    ),
    repositoriesText(status.repositories, nowMs),
    ...status.missing.map((one) => `${missingLine(one)}\n`),
  ]
  return parts.join('\n')
}

function unknownText(count: number): string | undefined {
  if (count === 0) return undefined
  return `firmware asked for ${count} ${count === 1 ? 'file' : 'files'} that ${count === 1 ? 'is' : 'are'} not here: 'muster files unknown' lists them`
}

export function repositoriesText(repositories: Status['repositories'], nowMs: number): string {
  const one = ({ name, upstream, roles, syncFailure }: Status['repositories'][number]) => {
    const source = upstream === undefined ? '' : ` (follows ${upstream})`
    const rows = roles.map(({ role, version, expires, keyHere }) => [
      role,
      String(version),
      `${expires} (${lifeLeft(expires, nowMs)})`,
      keyHere ? 'here' : 'not here',
    ])
    // Without any metadata its reason is what is missing, and stands there.
    const failed =
      syncFailure === undefined || roles.length === 0
        ? ''
        : `last sync failed ${ago(syncFailure.at, nowMs)} (${syncFailure.code}). ${printable(syncFailure.reason)}\n`
    return `repository ${name}${source}\n${failed}${table(['ROLE', 'VERSION', 'EXPIRES', 'KEY'], rows, 'It has no metadata yet.')}`
  }
  return repositories.map(one).join('\n') || 'No repository has metadata yet.\n'
}

function lifeLeft(expires: string, nowMs: number): string {
  const hours = Math.round((Date.parse(expires) - nowMs) / 3_600_000)
  if (hours < 0) return 'EXPIRED'
  return hours < 72 ? `in ${hours} h` : `in ${Math.round(hours / 24)} days`
}
