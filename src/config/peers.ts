/** Other servers of the same machines (docs/followers.md): who they are is an operator's word, so it stands in the configuration. */
import { z } from 'zod'

/** Each lengthens the agent's kernel arguments, of which a kernel takes 2048 bytes. */
const peersMax = 4
const authority = '[A-Za-z0-9._:[\\]-]+'

const peer = z.strictObject({
  pin: z
    .string()
    .regex(
      /^sha256\/\/[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/,
      "a pin, sha256//…, as its 'muster status' prints it",
    ),
  firmware: z
    .string()
    .regex(new RegExp(`^http://${authority}$`), 'http://host:port, without a path')
    .optional(),
})

/** By the agent plane's URL, so that each stands there once. */
export const peersSetting = z
  .record(z.string().regex(new RegExp(`^https://${authority}$`), 'https://host:port, without a path'), peer)
  .refine((peers) => Object.keys(peers).length <= peersMax, `at most ${peersMax} peers`)
  .default({})
  .describe(
    'Other servers that the agents made here ask when this one is away: {https://host:8443: {pin: sha256//…, firmware: http://host:8080}}; with firmware iPXE goes on there too',
  )
