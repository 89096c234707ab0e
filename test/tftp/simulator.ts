/** A network and a client in numbers: what goes in comes out the same for the same seed. */
import { type Outcome, type Step, Transfer, type TransferOptions } from '../../src/tftp/transfer.ts'
import { seededRandom } from '../support/seeded-random.ts'

export const timing = {
  negotiates: false,
  windowBlocks: 1,
  firstRetransmitMs: 1000,
  minRetransmitMs: 20,
  maxRetransmitMs: 5000,
  giveUpAfterMs: 20_000,
}

/** A transfer with a file of `blocks` blocks that is in memory already. */
export function begin(
  blocks: number,
  options: Partial<TransferOptions> = {},
): { transfer: Transfer; first: Step } {
  const transfer = new Transfer({ ...timing, ...options })
  const started = transfer.start(0)
  const loaded = transfer.loaded(blocks, blocks, 0)
  return { transfer, first: options.negotiates === true ? started : loaded }
}

export type World = {
  blocks: number
  windowBlocks: number
  loss: number
  double: number
  reorder: number
  seed: number
  /** The client's receive buffer, and how long it takes for each packet; without it, it is as quick as the network. */
  ring?: { packets: number; perPacketMs: number }
}

export type Result = {
  received: number
  outcome: Outcome
  packets: number
  elapsedMs: number
  /** Blocks that went out at once in the end. */
  burstBlocks: number
}

/** A network that loses, doubles and reorders, and a client that does what RFC 1350 and RFC 7440 say. */
export function simulate(world: World): Result {
  const draw = seededRandom(world.seed)
  const { transfer, first } = begin(world.blocks, { windowBlocks: world.windowBlocks, negotiates: true })
  let events: { atMs: number; act: () => void }[] = []
  let nowMs = 0
  let packets = 0
  let wakeAtMs = Number.POSITIVE_INFINITY
  let outcome: Outcome | undefined
  const travel = (act: () => void): void => {
    packets += 1
    const copies = draw() < world.loss ? 0 : draw() < world.double ? 2 : 1
    for (let copy = 0; copy < copies; copy += 1) {
      const delay = 0.5 + (draw() < world.reorder ? draw() * 3 : 0)
      events.push({ atMs: nowMs + delay, act })
    }
  }
  let received = 0
  let inWindow = 0
  let told = false
  let finished = false
  let heardMs = 0
  const ack = (): void => {
    inWindow = 0
    const block = received & 0xffff
    travel(() => obey(transfer.acknowledged(block, nowMs)))
  }
  const data = (block: number): void => {
    heardMs = nowMs
    if (block !== received + 1) {
      if (!told || world.windowBlocks === 1) ack()
      told = true
      return
    }
    told = false
    received = block
    inWindow += 1
    finished = block === world.blocks
    if (finished || inWindow === world.windowBlocks) ack()
  }
  let inRing = 0
  let busyUntilMs = 0
  const arrive = (block: number): void => {
    const { ring } = world
    if (ring === undefined) data(block)
    if (ring === undefined || inRing === ring.packets) return
    inRing += 1
    busyUntilMs = Math.max(nowMs, busyUntilMs) + ring.perPacketMs
    events.push({
      atMs: busyUntilMs,
      act: () => {
        inRing -= 1
        data(block)
      },
    })
  }
  const obey = (step: Step): void => {
    wakeAtMs = step.wakeAtMs
    outcome ??= step.ended
    if (step.send === 'oack') travel(() => (received === 0 ? ack() : undefined))
    for (let block = step.first; step.send === 'blocks' && block <= step.last; block += 1)
      travel(() => arrive(block))
  }
  obey(first)
  while (outcome === undefined) {
    events.sort((one, other) => one.atMs - other.atMs)
    const next = events[0]
    const clientAtMs = finished ? Number.POSITIVE_INFINITY : heardMs + 1000
    nowMs = Math.min(next?.atMs ?? Number.POSITIVE_INFINITY, wakeAtMs, clientAtMs)
    if (next !== undefined && next.atMs <= nowMs) {
      events = events.slice(1)
      next.act()
    } else if (wakeAtMs <= nowMs) obey(transfer.wake(nowMs))
    else {
      heardMs = nowMs
      ack()
    }
  }
  return { received, outcome, packets, elapsedMs: nowMs, burstBlocks: transfer.burstBlocks }
}
