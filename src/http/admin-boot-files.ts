/** What firmware asked for in vain, and what a kind of firmware cannot load of what is here. */
import { z } from 'zod'
import { route } from './admin-route.ts'

const unknownFile = z.object({
  name: z.string().describe('As it was asked for, made printable'),
  count: z.number().int(),
  firstAt: z.string(),
  lastAt: z.string(),
  over: z.array(z.enum(['tftp', 'http'])),
  addresses: z.array(z.string()).describe('Who asked, the last one first'),
})
export type UnknownFileView = z.output<typeof unknownFile>

const finding = z.object({
  level: z.enum(['ok', 'warning', 'error']),
  what: z.string(),
  sentence: z.string(),
})
export type FindingView = z.output<typeof finding>

export type BootFileDeciders = {
  /** The last asked for first; kept in memory, so a restart forgets them. */
  unknown(): UnknownFileView[]
  /** @param publicKey PEM of the key in the boards' EEPROMs. @throws MusterError request-invalid when it is none */
  lintRaspberryPi(publicKey: string | undefined): Promise<FindingView[]>
}

export function bootFileRoutes(bootFiles: BootFileDeciders) {
  const group = 'boot files'
  return {
    unknown: route({
      summary: 'Names that firmware asked for and that are not there, with who asked',
      group,
      reply: z.object({ items: z.array(unknownFile) }),
      handle: async () => ({ items: bootFiles.unknown() }),
    }),
    lintRaspberryPi: route({
      summary: "What a Raspberry Pi's boot loader cannot load of what is here",
      group,
      body: z.object({
        publicKey: z.string().max(8192).optional().describe("PEM of the key in the boards' EEPROMs"),
      }),
      reply: z.object({ items: z.array(finding) }),
      handle: async ({ body }) => ({ items: await bootFiles.lintRaspberryPi(body.publicKey) }),
    }),
  }
}
