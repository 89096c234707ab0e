/** Kinds of settings: numbers with bounds, switches, hosts, sections. */
import { z } from 'zod'

/** A whole number, also as text, because the environment and flags have nothing else. Not `coerce`: that takes '' for 0. */
export const whole = (min: number, max: number) =>
  z
    .union([
      z.number(),
      z
        .string()
        .regex(/^\d{1,9}$/, 'expected a whole number')
        .transform(Number),
    ])
    .pipe(z.number().int().min(min).max(max))

export const port = (byDefault: number, what: string) => whole(0, 65_535).default(byDefault).describe(what)
export const host = (byDefault: string, what: string) => z.string().min(1).default(byDefault).describe(what)
export const count = (byDefault: number, max: number, what: string) =>
  whole(1, max).default(byDefault).describe(what)
export const flag = (byDefault: boolean, what: string) =>
  z
    .union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')])
    .default(byDefault)
    .describe(what)

/** A section whose members all have defaults: may be left out whole. */
export const section = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject(shape).prefault({} as never)
