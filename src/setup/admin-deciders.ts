/** What the admin plane asks, answered by the server's parts. */
import type { Planner } from '../boot/decide.ts'
import type { BootFiles } from '../boot/files.ts'
import { fileWarnings, imageProblem } from '../boot/profile-check.ts'
import { lintRaspberryPi } from '../boot/raspberry-pi-lint.ts'
import type { Clusters } from '../cluster/clusters.ts'
import type { Config } from '../config/schema.ts'
import { errorCodeOf, MusterError } from '../errors.ts'
import type { AdminDeciders } from '../http/admin.ts'
import type { EventView } from '../http/admin-boots.ts'
import type { ImageDeciders, ImagesView, PullProgress, PullRequest } from '../http/admin-images.ts'
import type { NamedDocument } from '../http/admin-profiles.ts'
import type { Machines } from '../machines/machines.ts'
import { profileTies } from '../machines/profile-ties.ts'
import { parseProfile } from '../machines/profiles.ts'
import { pullInto } from '../oci/pull.ts'
import { parseReference } from '../oci/reference.ts'
import type { RegistryClient } from '../oci/registry.ts'
import type { Release } from '../protocol/release-rules.ts'
import type { Catalog } from '../releases/catalog.ts'
import type { Releases } from '../releases/releases.ts'
import type { BlobStore } from '../store/blobs.ts'
import { type StatusFacts, statusDeciders } from './status.ts'
import { listOf, viewOf, whyOf } from './why.ts'

export type AdminFacts = StatusFacts & {
  config: Config
  machines: Machines
  planner: Pick<Planner, 'lookUp'>
  clusters: Clusters
  releases: Releases
  blobs: BlobStore
  files: BootFiles
  registries: RegistryClient
}

export function adminDeciders(facts: AdminFacts): AdminDeciders {
  const { blobs, clusters, machines } = facts
  const named = (events: readonly EventView[]) => withNames(machines, events)
  return {
    machines: {
      list: (query) => listOf(facts, query),
      get: (machine) => viewOf(facts, machine),
      async patch(machine, { name, labels }, by) {
        let found = await machines.find(machine)
        if (labels !== undefined) found = await machines.label(found.id, labels, by)
        if (name !== undefined) found = await machines.rename(found.id, name, by)
        return found
      },
      approve: (machine, by, meant) => machines.approve(machine, by, meant),
      decide: (machine, decision, by) => machines[decision](machine, by),
      async forget(machine, by) {
        await machines.forget(machine, by)
      },
      why: (machine) => whyOf(facts, machine),
      boots: async (machine, limit) => machines.boots((await machines.find(machine)).id, limit),
    },
    boots: { get: (boot) => machines.boot(boot) },
    events: {
      list: async (query) => named(await machines.events(query)),
      latest: async (query) => named(await machines.events(query)),
      named,
      subscribe: (listener) => machines.subscribe(listener),
      machineId: async (machine) => (await machines.find(machine)).id,
    },
    images: imageDeciders(facts),
    blobs,
    bootFiles: {
      unknown: () => facts.unknown.list(),
      lintRaspberryPi: (publicKey) =>
        lintRaspberryPi({
          files: facts.files,
          tftpPort: facts.ports.tftp,
          tftpBlockBytesMax: facts.config.tftp.blockBytesMax,
          publicKey,
        }),
    },
    profiles: {
      list: () => machines.profiles.list(),
      get: (name) => machines.profiles.get(name),
      put: (document, options) => putProfile(facts, document, options),
      remove: (name) => forgiving('profile-not-found', machines.profiles.remove(name)),
    },
    clusters: {
      list: () => clusters.list(),
      get: (name) => clusters.get(name),
      put: (document) => clusters.put(document),
      async remove(name) {
        const user = (await machines.profiles.list()).find(({ cluster }) => cluster === name)
        if (user !== undefined) {
          throw new MusterError(
            'cluster-invalid',
            `Profile ${user.name} names cluster ${name}; change the profile first.`,
          )
        }
        await forgiving('cluster-not-found', clusters.remove(name))
      },
    },
    status: statusDeciders(facts),
  }
}

/** For people: an id tells them nothing. */
async function withNames(
  machines: Pick<Machines, 'namesOf'>,
  events: readonly EventView[],
): Promise<EventView[]> {
  const names = await machines.namesOf(events.flatMap(({ machineId }) => machineId ?? []))
  return events.map((event) => {
    const machineName = event.machineId === undefined ? undefined : names.get(event.machineId)
    return machineName === undefined ? event : { ...event, machineName }
  })
}

/** What the first machine would find is said to the person who sets it. @throws MusterError profile-invalid */
async function putProfile(
  { config, files, machines, releases }: AdminFacts,
  document: NamedDocument,
  { unpublished }: { unpublished: boolean },
): Promise<{ document: NamedDocument; warnings: string[] }> {
  const profile = parseProfile(document)
  const problem = imageProblem(profile, catalogOf(releases))
  if (problem !== undefined && !unpublished)
    throw new MusterError(
      'profile-invalid',
      `The profile '${profile.name}' was not set, because no machine would get its image: ${problem}. ` +
        "Publish it first ('muster image publish'), or say --unpublished (?unpublished=true) to prepare the profile before it.",
    )
  const warnings = [
    ...(problem === undefined ? [] : [`until it is published no machine gets it: ${problem}`]),
    ...(await fileWarnings(profile, { folder: config.files, operator: files.operator })),
    ...profileTies(profile, await machines.profiles.list()),
  ]
  return { document: await machines.profiles.put(document), warnings }
}

/** Undefined while a follower has nothing of its upstream yet. */
function catalogOf(releases: Releases): Catalog | undefined {
  try {
    return releases.catalog()
  } catch (error) {
    if (errorCodeOf(error) === 'repository-not-found') return undefined
    throw error
  }
}

/** Removing what is gone already is done already. */
async function forgiving(code: string, removal: Promise<void>): Promise<void> {
  try {
    await removal
  } catch (error) {
    if (errorCodeOf(error) !== code) throw error
  }
}

function imageDeciders(facts: AdminFacts): ImageDeciders {
  const { releases } = facts
  const require = (repository: string) => {
    if (repository === releases.repository) return
    throw new MusterError(
      'repository-not-found',
      `This server has the repository '${releases.repository}', not '${repository}'.`,
    )
  }
  return {
    list: async () => imagesView(releases),
    pull: (request, signal) => pull(facts, request, signal),
    async metadata(repository, name) {
      require(repository)
      return releases.metadata(name)
    },
    async acceptTargets(repository, bytes) {
      require(repository)
      await releases.acceptTargets(bytes, (withdrawn) => checkNotAsked(facts, withdrawn))
      return { version: releases.catalog().trusted.versions.targets }
    },
  }
}

/** A profile that names a version would wait for it for ever. @throws MusterError release-in-use */
async function checkNotAsked({ machines }: AdminFacts, withdrawn: readonly Release[]): Promise<void> {
  const profiles = await machines.profiles.list()
  for (const { image, path, version } of withdrawn) {
    const users = profiles.filter((one) => one.image?.name === image && one.image.version === version)
    if (users.length === 0) continue
    const names = users.map(({ name }) => name).join(', ')
    throw new MusterError(
      'release-in-use',
      `${path} was not removed, because its version is asked for by profile ${names}; change the profile first ('muster profile set').`,
      { details: { path, profiles: users.map(({ name }) => name) } },
    )
  }
}

function imagesView(releases: Releases): ImagesView {
  const catalog = releases.catalog()
  return {
    repository: releases.repository,
    skipped: catalog.skipped.map(({ message }) => message),
    images: catalog.images().map(({ name, releases: list, channels }) => ({
      name,
      releases: list.map(({ arch, custom, manifest, path, version }) => ({
        version,
        arch,
        kind: custom.kind,
        releaseCounter: custom.releaseCounter,
        hardwareIds: custom.hardwareIds,
        digest: manifest.digest,
        ref: custom.oci.ref,
        target: path,
      })),
      channels: channels.map(({ channel, version, releaseCounter, minReleaseCounter }) => ({
        channel,
        version,
        releaseCounter,
        minReleaseCounter,
      })),
    })),
  }
}

/** Bytes of a registry into the blob store; progress is given when there is somebody to take it. */
async function* pull(
  { blobs, registries }: AdminFacts,
  request: PullRequest,
  signal: AbortSignal,
): AsyncGenerator<PullProgress> {
  const reference = parseReference(request.reference)
  const source = registries.repository(reference)
  const manifests =
    request.arch === undefined
      ? await source.resolveAll(reference, { signal })
      : [await source.resolve(reference, { arch: request.arch, signal })]
  let latest: PullProgress | undefined
  let wake = () => {}
  const done = pullInto({
    source,
    manifests,
    sink: blobs,
    signal,
    onProgress(progress) {
      latest = { kind: 'progress', ...progress }
      wake()
    },
  }).finally(() => wake())
  let ended = false
  const finished = done.then(
    () => (ended = true),
    () => (ended = true),
  )
  while (!ended) {
    await Promise.race([
      finished,
      new Promise<void>((resolve) => {
        wake = resolve
      }),
    ])
    if (latest !== undefined) yield latest
    latest = undefined
  }
  await done
  yield {
    kind: 'done',
    manifests: manifests.map(({ arch = request.arch, descriptor: { digest, size, mediaType } }) => ({
      ...(arch === undefined ? {} : { arch }),
      digest,
      size,
      mediaType,
    })),
  }
}
