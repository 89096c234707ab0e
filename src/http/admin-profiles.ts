/** Profiles: which image, arguments and cluster the machines that a selector matches get. */
import { z } from 'zod'
import { route } from './admin-route.ts'

export type ProfileDocument = Record<string, unknown>

export type ProfileDeciders = {
  list(): Promise<{ name: string; document: ProfileDocument; updatedAt: string }[]>
  /** @throws MusterError profile-not-found */
  get(name: string): Promise<{ name: string; document: ProfileDocument; updatedAt: string }>
  /** Validates all of it. The same twice is no error. @throws MusterError profile-invalid, cluster-not-found */
  put(name: string, document: ProfileDocument): Promise<void>
  /** Removing twice is no error. */
  remove(name: string): Promise<void>
}

export const documentName = z.object({
  name: z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and dashes'),
})
export const document = z.record(z.string(), z.unknown())
export const stored = z.object({ name: z.string(), document, updatedAt: z.string() })
export type StoredDocument = z.output<typeof stored>

export function profileRoutes(profiles: ProfileDeciders) {
  const group = 'profiles'
  return {
    list: route({
      summary: 'All profiles by name',
      group,
      reply: z.object({ items: z.array(stored) }),
      handle: async () => ({ items: await profiles.list() }),
    }),
    get: route({
      summary: 'One profile',
      group,
      params: documentName,
      reply: stored,
      handle: ({ params }) => profiles.get(params.name),
    }),
    put: route({
      summary: 'Make or replace a profile; all of it is validated',
      group,
      params: documentName,
      body: document,
      reply: stored,
      async handle({ params, body }) {
        await profiles.put(params.name, body)
        return profiles.get(params.name)
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
