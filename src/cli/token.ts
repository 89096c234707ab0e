/** `muster token new`: a new admin token; the old one is refused from then on. */
import type { Command } from 'commander'
import type { Context } from './context.ts'
import { print } from './output.ts'

export function addToken(program: Command, context: Context): void {
  const token = program.command('token').description("the admin plane's token")
  token
    .command('new')
    .description('make a new token and print it once; the old one stops working at once')
    .action(async () => {
      const reply = await context.api().call<{ token: string }>({ method: 'POST', path: '/token' })
      print(context.output(), reply, () => reply.token)
      context.output().note('This is shown once. Keep it where your other secrets are.\n')
    })
}
