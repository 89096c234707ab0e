/** `muster serve`: the server, in the foreground. */
import type { Command } from 'commander'
import { readAgentPolicy } from '../builder/agent-policy.ts'
import type { Context } from './context.ts'

export function addServe(program: Command, context: Context): void {
  program
    .command('serve')
    .description('run the server; the first start prepares what is missing')
    .option('--files <folder>', "the operator's own files, served as files/<name>, never verified")
    .option('--mirror <url>', 'Debian mirror that agent and boot loaders are made from')
    .option('--advertise <host>', 'name or address that machines reach this server at')
    .action(async (_, command: Command) => {
      // These three are settings like --data, but only `serve` has a use for them.
      for (const [name, value] of Object.entries(command.opts<Record<string, string>>()))
        program.setOptionValue(name, value)
      const { world } = context
      const loaded = context.loaded()
      // Before anything starts: an older agent with a laxer policy must not be what machines go on getting.
      if (loaded.config.agentPolicy !== undefined) await readAgentPolicy(loaded.config.agentPolicy)
      await world.serve({
        loaded,
        print: (line) => world.stdout(`${line}\n`),
        signal: world.signal,
      })
    })
}
