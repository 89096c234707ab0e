/** Profiles: which image, arguments and cluster the machines that a selector matches get. */
import { z } from 'zod'
import { MusterError } from '../errors.ts'
import { route } from './admin-route.ts'

/** A document as it was put, with its `name`. */
export type NamedDocument = { name: string } & Record<string, unknown>

export type ProfileDeciders = {
  list(): Promise<NamedDocument[]>
  /** @throws MusterError profile-not-found */
  get(name: string): Promise<NamedDocument>
  /** Validates all of it. The same twice is no error. @throws MusterError profile-invalid, cluster-not-found */
  put(document: NamedDocument): Promise<NamedDocument>
  /** Removing twice is no error. */
  remove(name: string): Promise<void>
}

export const documentName = z.object({
  name: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and dashes'),
})
export const document = z.looseObject({ name: z.string() })
const given = z.looseObject({ name: z.string().optional() }).describe('docs/profiles.md has every member')

/** The name of the URL is the document's; another one in the document is a mistake that must not pass. */
export function named(name: string, body: { name?: string | undefined }): NamedDocument {
  if (body.name === undefined || body.name === name) return { ...body, name }
  throw new MusterError(
    'request-invalid',
    `The document calls itself '${body.name.slice(0, 80)}', but was put as '${name}'; they must agree.`,
  )
}

export function profileRoutes(profiles: ProfileDeciders) {
  const group = 'profiles'
  return {
    list: route({
      summary: 'All profiles by name',
      group,
      reply: z.object({ items: z.array(document) }),
      handle: async () => ({ items: await profiles.list() }),
    }),
    get: route({
      summary: 'One profile',
      group,
      params: documentName,
      reply: document,
      handle: ({ params }) => profiles.get(params.name),
    }),
    put: route({
      summary: 'Make or replace a profile; all of it is validated',
      group,
      params: documentName,
      body: given,
      reply: document,
      handle: async ({ params, body }) => profiles.put(named(params.name, body)),
    }),
    remove: route({
      summary: 'Remove a profile; machines that had it get what matches next',
      group,
      params: documentName,
      async handle({ params }) {
        await profiles.remove(params.name)
        return undefined
      },
    }),
  }
}
