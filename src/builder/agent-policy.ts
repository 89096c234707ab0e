/** The policy of an agent as a person writes it: a file of the members that shall differ (docs/agent-policy.md). */
import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'
import { z } from 'zod'
import { documentProblem } from '../document-problem.ts'
import { MusterError } from '../errors.ts'
import { type AgentPolicy, agentPolicy } from '../protocol/agent-config.ts'
import { systemReason } from '../system-error.ts'

/** A member left out stays as it is by default; one that nobody knows is a mistake, since it would protect nothing. */
export const agentPolicyFile = z
  .strictObject({ ...agentPolicy.shape, onFailure: z.strictObject(agentPolicy.shape.onFailure.shape) })
  .partial()

/**
 * @param value what the file holds, parsed
 * @param name how its mistakes name it
 * @throws MusterError agent-config-invalid, listing every problem
 */
export function parseAgentPolicy(value: unknown, name: string): Partial<AgentPolicy> {
  const result = agentPolicyFile.safeParse(value)
  if (result.success) return result.data as Partial<AgentPolicy>
  const problems = result.error.issues.map((issue) => documentProblem(issue, value, 'the file'))
  throw new MusterError(
    'agent-config-invalid',
    `The agent policy ${name} has ${problems.length === 1 ? 'a mistake' : `${problems.length} mistakes`}:\n` +
      `${problems.map((problem) => `  ${problem}`).join('\n')}\ndocs/agent-policy.md has every member.`,
    { details: { problems } },
  )
}

/** @throws MusterError agent-config-invalid, listing every problem */
export async function readAgentPolicy(file: string): Promise<Partial<AgentPolicy>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new MusterError(
      'agent-config-invalid',
      `The agent policy ${file} cannot be read: ${systemReason(cause)}. Name another one by --policy or the setting agentPolicy.`,
      { cause },
    )
  }
  let value: unknown
  try {
    value = parse(text)
  } catch (cause) {
    throw new MusterError(
      'agent-config-invalid',
      `The agent policy ${file} is not YAML: ${(cause as Error).message}`,
      { cause },
    )
  }
  return parseAgentPolicy(value, file)
}
