/** Clusters: what machines join. Their secrets go in and never come out: an answer only says which are set. */
import { z } from 'zod'
import { document, documentName } from './admin-profiles.ts'
import { route } from './admin-route.ts'

const clusterView = z.object({
  name: z.string(),
  document: document.describe('Without the values of secrets'),
  secrets: z.array(z.string()).describe('Names of the secrets that are set'),
  updatedAt: z.string(),
})
export type ClusterView = z.output<typeof clusterView>

export type ClusterDeciders = {
  list(): Promise<ClusterView[]>
  /** @throws MusterError cluster-not-found */
  get(name: string): Promise<ClusterView>
  /** A secret without a value keeps the one it had. @throws MusterError cluster-invalid */
  put(name: string, document: Record<string, unknown>): Promise<void>
  /** @throws MusterError cluster-invalid while a profile names it */
  remove(name: string): Promise<void>
}

export function clusterRoutes(clusters: ClusterDeciders) {
  const group = 'clusters'
  return {
    list: route({
      summary: 'All clusters by name, without secret values',
      group,
      reply: z.object({ items: z.array(clusterView) }),
      handle: async () => ({ items: await clusters.list() }),
    }),
    get: route({
      summary: 'One cluster, without secret values',
      group,
      params: documentName,
      reply: clusterView,
      handle: ({ params }) => clusters.get(params.name),
    }),
    put: route({
      summary: 'Make or replace a cluster; a secret without a value keeps the one it had',
      group,
      params: documentName,
      body: document,
      reply: clusterView,
      async handle({ params, body }) {
        await clusters.put(params.name, body)
        return clusters.get(params.name)
      },
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
