/** Our DHCP server alone in a process, for scripts/bench/dhcp.ts: `dhcp-server.ts ADDRESS NETWORK RANGE DATABASE`. */
import { createDhcpBoot } from '../../src/boot/dhcp.ts'
import { defaultDhcpLimits } from '../../src/dhcp/limits.ts'
import { createPools } from '../../src/dhcp/pool.ts'
import { Responder } from '../../src/dhcp/responder.ts'
import { createDhcpServer } from '../../src/dhcp/server.ts'
import { chooseEngine } from '../../src/dhcp/start.ts'
import { silentLog } from '../../src/log.ts'
import { openDatabase } from '../../src/store/database.ts'
import { createDhcpLeases } from '../../src/store/dhcp-leases.ts'

const [address = '', network = '', range = '', path = ':memory:'] = process.argv.slice(2)

const limits = {
  ...defaultDhcpLimits,
  maxPacketsPerSecond: 1_000_000,
  maxRememberedClients: 100_000,
  maxOffers: 65_536,
}
const database = await openDatabase({ path, log: silentLog })
const pool = { range, dns: ['10.0.0.53'], ntp: [], leaseSeconds: 3600 }
const server = createDhcpServer({
  responder: new Responder({
    pools: createPools({ [network]: pool }, {}),
    boot: createDhcpBoot({ advertise: undefined, ports: () => ({ firmware: 8080, tftp: 69 }) }),
    store: createDhcpLeases(database),
    // The other servers do not look either: dnsmasq is told not to, Kea never does.
    inUse: undefined,
    limits,
    log: silentLog,
    now: Date.now,
  }),
  engine: await chooseEngine({ log: silentLog, maxPacketBytes: limits.maxPacketBytes }),
  mode: 'server',
  addresses: [address],
  limits,
  log: silentLog,
})
await server.listen()
