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
  /**
   * Validates all of it. The same twice is no error. `warnings` are sentences about what holds and is hardly meant.
   * @param unpublished take it although no machine would get its image now
   * @throws MusterError profile-invalid, cluster-not-found
   */
  put(
    document: NamedDocument,
    options: { unpublished: boolean },
  ): Promise<{ document: NamedDocument; warnings: string[] }>
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
      summary: 'Make or replace a profile; all of it is validated, and its image must be published',
      group,
      params: documentName,
      query: z.object({
        unpublished: z
          .stringbool()
          .default(false)
          .describe('Take it although no machine would get its image now; that is a warning then'),
      }),
      body: given,
      reply: document.extend({
        warnings: z.array(z.string()).optional().describe('What holds and is hardly meant; not kept'),
      }),
      async handle({ params, query, body }) {
        const { document, warnings } = await profiles.put(named(params.name, body), query)
        return warnings.length === 0 ? document : { ...document, warnings }
      },
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
