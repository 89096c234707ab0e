/** Who decides: releases, clusters, machines, and what a machine boots; made from what is on disk. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createPlanner } from '../boot/decide.ts'
import { createFirmwareDecision } from '../boot/firmware.ts'
import { createClusters } from '../cluster/clusters.ts'
import type { Config } from '../config/schema.ts'
import { createNodeCrypto } from '../crypto/node.ts'
import { MusterError } from '../errors.ts'
import type { TlsIdentity } from '../http/tls.ts'
import type { Log } from '../log.ts'
import { createMachines } from '../machines/machines.ts'
import type { Fetch } from '../oci/transport.ts'
import { createReleases } from '../releases/releases.ts'
import type { Upstream } from '../releases/sync.ts'
import { checkTrustedRoot } from '../releases/trusted-root.ts'
import { periodsOf } from '../signing/expiry.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { Database } from '../store/database.ts'
import type { Store } from '../store/store.ts'
import { systemReason } from '../system-error.ts'
import { isDemonstration } from './demonstration.ts'
import { machineLimitsOf, registryLimitsOf } from './limits.ts'
import { hasAgent } from './made-agents.ts'
import type { Paths } from './paths.ts'

export type DeciderParts = {
  config: Config
  paths: Paths
  log: Log
  now: () => Date
  random: (bytes: number) => Uint8Array
  database: Database
  blobs: BlobStore
  store: Store
  tls: TlsIdentity
  fetch: Fetch
  upstream: Upstream | undefined
}

/** `releases` is not opened yet, and the caller ends it. */
export function createDeciders(parts: DeciderParts) {
  const { config, database, log, now, paths, random, tls } = parts
  const releases = createReleases({
    repository: config.releases.repository,
    metadataDirectory: join(paths.tuf, config.releases.repository, 'metadata'),
    keysDirectory: join(paths.keys, config.releases.repository),
    blobs: parts.blobs,
    store: parts.store,
    periods: periodsOf(config.releases.expiry),
    crypto: createNodeCrypto(),
    now: () => now().getTime(),
    log,
    upstream: parts.upstream,
    fetch: parts.fetch,
    limits: { ...registryLimitsOf(config), metadataTimeoutMs: config.releases.metadataTimeoutMs },
  })
  const limits = machineLimitsOf(config)
  const clusters = createClusters({ database, now, log, max: limits.clustersMax })
  const machines = createMachines({
    database,
    now,
    random,
    log,
    reportSecret: createHash('sha256').update('muster report tokens\n').update(tls.key).digest(),
    enrolment: { mode: config.enrolment.mode, isDemonstration },
    hasCluster: clusters.has,
    limits,
  })
  const planner = createPlanner({
    machines,
    releases,
    joinFiles: clusters.render,
    pin: tls.pin,
    now,
    limits: { planSeconds: config.boots.planSeconds, pollSeconds: config.agent.pollSeconds },
  })
  const decideFirmware = createFirmwareDecision({
    facts: {
      findClaimed: machines.findClaimed,
      explain: (machine) => machines.why(machine.id),
      recordUnverified: machines.recordUnverified,
      hasAgent: (arch) => hasAgent(paths, arch),
    },
  })
  return { releases, clusters, machines, planner, decideFirmware }
}

/**
 * Whom this server follows, with the root that it begins to trust with. A file that can never verify anything stops the start, like one that
 * is not there: following would fail for ever. @throws MusterError config-invalid
 */
export async function readUpstream(config: Config, nowMs: number): Promise<Upstream | undefined> {
  const { repository, upstream } = config.releases
  if (upstream === undefined) return undefined
  const refuse = (why: string, cause: unknown) =>
    new MusterError(
      'config-invalid',
      `releases.upstream.root: ${upstream.root} ${why} It is upstream's root.json, fetched by a road you trust.`,
      { cause },
    )
  let root: Buffer
  try {
    root = await readFile(upstream.root)
  } catch (cause) {
    throw refuse(`cannot be read (${systemReason(cause)}).`, cause)
  }
  try {
    checkTrustedRoot(root, { repository, nowMs, crypto: createNodeCrypto() })
  } catch (cause) {
    if (!(cause instanceof MusterError)) throw cause
    throw refuse(`is no root.json: ${cause.message}`, cause)
  }
  return { url: upstream.url.replace(/\/+$/, ''), root }
}
