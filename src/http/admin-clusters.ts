/** Clusters: what machines join. Their secrets go in and never come out: an answer only says which are set. */
import { z } from 'zod'
import { document, documentName, type NamedDocument, named } from './admin-profiles.ts'
import { route } from './admin-route.ts'

const given = z.looseObject({ name: z.string().optional() }).describe('docs/clusters.md has every member')

/** Documents that come out of here hold no secret values, only that there are some. */
export type ClusterDeciders = {
  list(): Promise<NamedDocument[]>
  /** @throws MusterError cluster-not-found */
  get(name: string): Promise<NamedDocument>
  /** Replaces all of it; a secret without a value keeps the one it has. @throws MusterError cluster-invalid */
  put(document: NamedDocument): Promise<NamedDocument>
  /** @throws MusterError cluster-invalid while a profile names it */
  remove(name: string): Promise<void>
}

export function clusterRoutes(clusters: ClusterDeciders) {
  const group = 'clusters'
  return {
    list: route({
      summary: 'All clusters by name, without secret values',
      group,
      reply: z.object({ items: z.array(document) }),
      handle: async () => ({ items: await clusters.list() }),
    }),
    get: route({
      summary: 'One cluster, without secret values',
      group,
      params: documentName,
      reply: document,
      handle: ({ params }) => clusters.get(params.name),
    }),
    put: route({
      summary: 'Make or replace a cluster; a secret without a value keeps the one it has',
      group,
      params: documentName,
      body: given,
      reply: document,
      handle: async ({ params, body }) => clusters.put(named(params.name, body)),
    }),
    remove: route({
      summary: 'Remove a cluster that no profile names',
      group,
      params: documentName,
      async handle({ params }) {
        await clusters.remove(params.name)
        return undefined
      },
    }),
  }
}
