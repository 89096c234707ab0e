/**
 * What Prometheus sees. Labels come from closed sets only (planes, route patterns, classes of status, enrolments, roles):
 * nothing that a stranger sends can make a new series.
 */
import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Status } from './admin-status.ts'

export type Metrics = {
  /** For counters of other rooms (TFTP): register them here. */
  registry: Registry
  /** Counts every answer of a plane. */
  watch(app: FastifyInstance, plane: 'firmware' | 'agent' | 'admin'): void
  expose(status: Status): Promise<{ contentType: string; text: string }>
}

export function createMetrics(options: { version: string; now?: () => number }): Metrics {
  const { version, now = Date.now } = options
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const requests = new Counter({
    name: 'muster_http_requests_total',
    help: 'HTTP requests by plane, route pattern and class of status',
    labelNames: ['plane', 'route', 'status'],
    registers,
  })
  const seconds = new Histogram({
    name: 'muster_http_request_seconds',
    help: 'Time from the request to the end of its answer, in seconds',
    labelNames: ['plane'],
    buckets: [0.005, 0.025, 0.1, 0.5, 2, 10, 60, 300],
    registers,
  })
  new Gauge({ name: 'muster_info', help: 'Always 1', labelNames: ['version'], registers }).set({ version }, 1)
  const ready = new Gauge({
    name: 'muster_ready',
    help: '1 when nothing that machines need is missing',
    registers,
  })
  const machines = new Gauge({
    name: 'muster_machines',
    help: 'Machines by enrolment',
    labelNames: ['enrolment'],
    registers,
  })
  const expires = new Gauge({
    name: 'muster_metadata_expires_seconds',
    help: 'Seconds until the metadata of a role expires',
    labelNames: ['repository', 'role'],
    registers,
  })

  return {
    registry,
    watch(app, plane) {
      app.addHook('onResponse', async (request, reply) => {
        const route = request.routeOptions.url ?? 'none'
        requests.inc({ plane, route, status: `${Math.floor(reply.statusCode / 100)}xx` })
        seconds.observe({ plane }, reply.elapsedTime / 1000)
      })
    },
    async expose(status) {
      ready.set(status.ready ? 1 : 0)
      machines.reset()
      for (const [enrolment, count] of Object.entries(status.machines)) machines.set({ enrolment }, count)
      expires.reset()
      for (const { name: repository, roles } of status.repositories) {
        for (const { role, expires: at } of roles) {
          expires.set({ repository, role }, Math.round((Date.parse(at) - now()) / 1000))
        }
      }
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
  }
}
