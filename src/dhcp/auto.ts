/**
 * Mode `auto`: gives addresses where nobody else does, and is a ProxyDHCP server beside who does.
 *
 *     proxy ── nobody offers an address, twice in a row ──▶ server
 *       ▲ ◀──────── somebody else offers one ────────────────┘
 *
 * It begins as proxy, which hurts nobody. Of several Musters in this mode the one with the lowest address stays.
 */
import { errorCodeOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { anyAddress, toNumber } from './address.ts'
import type { Offer } from './probe.ts'
import type { DhcpMode } from './responder.ts'
import type { DhcpServer } from './server.ts'

/** What the offers on our segments mean. `own`: our addresses. */
export function judgeOffers(
  offers: readonly Offer[],
  own: readonly string[],
): { mode: DhcpMode; because: string } {
  const lowest = Math.min(...own.map((address) => toNumber(address) ?? 0))
  const stays = offers.find(
    ({ address, muster, server }) =>
      address !== anyAddress &&
      !own.includes(server) &&
      // It does the same as we do, and finds us with the lower address: it steps back, not we.
      !(muster === 'auto' && (toNumber(server) ?? 0) > lowest),
  )
  if (stays === undefined) return { mode: 'server', because: 'nobody else offers addresses here' }
  return { mode: 'proxy', because: `${stays.server} offers addresses here` }
}

export type AutoOptions = {
  server: Pick<DhcpServer, 'mode' | 'setMode'>
  /** @throws listen-failed */
  ask: (stop: AbortSignal) => Promise<Offer[]>
  addresses: readonly string[]
  /** Whether there is a pool to give addresses from. */
  canServe: boolean
  recheckMs: number
  log: Log
}

/** Asks now, and again every `recheckMs`; at first without a pause, so that a rack does not wait. */
export function startAuto(options: AutoOptions): AsyncDisposable & { settled: Promise<void> } {
  const { log, recheckMs, server } = options
  let quietRounds = 0
  let told = ''
  let underWay: Promise<void> = Promise.resolve()
  const stop = new AbortController()

  const say = (because: string, mode: DhcpMode) => {
    if (told === because) return
    told = because
    log.warn(
      { mode },
      `DHCP mode auto: ${because}, so Muster ${mode === 'server' ? 'gives them' : 'is a proxy and gives none'}`,
    )
  }

  async function round(): Promise<void> {
    let judged: ReturnType<typeof judgeOffers>
    try {
      judged = judgeOffers(await options.ask(stop.signal), options.addresses)
    } catch (error) {
      if (stop.signal.aborted) return
      if (errorCodeOf(error) !== 'listen-failed') throw error
      // Whoever holds port 68 was given this machine's address.
      judged = {
        mode: 'proxy',
        because: "this machine's own DHCP client has port 68: somebody offers addresses here",
      }
    }
    if (stop.signal.aborted) return
    quietRounds = judged.mode === 'server' ? quietRounds + 1 : 0
    if (judged.mode === 'proxy') {
      server.setMode('proxy')
      say(judged.because, 'proxy')
    } else if (!options.canServe) say(`${judged.because}, and there is no dhcp.pools to give from`, 'proxy')
    else if (quietRounds >= 2) {
      server.setMode('server')
      say(judged.because, 'server')
    }
  }

  const safely = () =>
    round().catch((error: unknown) =>
      log.error({ err: error }, 'DHCP mode auto could not ask; it tries again'),
    )
  const settled = safely().then(() => (quietRounds === 1 && !stop.signal.aborted ? safely() : undefined))
  underWay = settled
  const timer = setInterval(() => {
    underWay = underWay.then(safely)
  }, recheckMs)
  return {
    settled,
    async [Symbol.asyncDispose]() {
      stop.abort()
      clearInterval(timer)
      await underWay
    },
  }
}
