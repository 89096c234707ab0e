/** `muster help [command…]`: what `--help` behind that command says, because people type it so. */
import type { Command } from 'commander'
import { didYouMean } from '../nearest.ts'

export function addHelp(program: Command): void {
  program
    .command('help')
    .argument('[command...]', 'as in: muster help machine approve')
    .description("what a command does, as '--help' behind it")
    .action((words: string[], _, command: Command) => {
      let found = program
      for (const word of words) {
        const names = found.commands.map((one) => one.name())
        const next = found.commands.find((one) => one.name() === word)
        if (next === undefined)
          return command.error(
            found.commands.length === 0
              ? `error: '${pathOf(found)}' has no commands of its own, so there is no '${word}'`
              : `error: unknown command '${word}'${didYouMean(word, names)}`,
          )
        found = next
      }
      return found.outputHelp()
    })
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
