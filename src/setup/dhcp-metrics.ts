/** What Prometheus sees of DHCP. Labels are closed sets and names of the configuration. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Responder } from '../dhcp/responder.ts'
import type { DhcpServer } from '../dhcp/server.ts'

export function watchDhcp(
  registry: Registry,
  {
    responder,
    server,
  }: { responder: Pick<Responder, 'checks' | 'counts'>; server: Pick<DhcpServer, 'mode' | 'stats'> },
): void {
  const registers = [registry]
  new Counter({
    name: 'muster_dhcp_packets_total',
    help: 'DHCP packets by what became of them: received, malformed, rateLimited, ignored, silent; replies: offers, acks, naks',
    labelNames: ['what'],
    registers,
    collect() {
      this.reset()
      for (const [what, count] of Object.entries(server.stats())) this.inc({ what }, count)
    },
  })
  new Counter({
    name: 'muster_dhcp_conflict_checks_total',
    help: 'Addresses that were looked for before they were offered: made, found in use; refused: too many at once, so the client was not answered',
    labelNames: ['what'],
    registers,
    collect() {
      this.reset()
      for (const [what, count] of Object.entries(responder.checks())) this.inc({ what }, count)
    },
  })
  new Gauge({
    name: 'muster_dhcp_addresses',
    help: 'Addresses of a pool by state: size of its range, bound, offered, quarantined',
    labelNames: ['pool', 'state'],
    registers,
    collect() {
      for (const { name: pool, ...states } of responder.counts())
        for (const [state, count] of Object.entries(states)) this.set({ pool, state }, count)
    },
  })
  new Gauge({
    name: 'muster_dhcp_serving',
    help: '1 while this server gives addresses, 0 while it is a proxy',
    registers,
    collect() {
      this.set(server.mode === 'server' ? 1 : 0)
    },
  })
}
