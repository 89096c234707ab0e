/** The way to registries as the configuration has it: hosts that differ, credentials, proxies. */
import { readFileSync } from 'node:fs'
import type { LoadedConfig } from '../config/load.ts'
import { MusterError } from '../errors.ts'
import { dockerCredentials } from '../oci/docker-config.ts'
import { createRegistryClient, type RegistryClient } from '../oci/registry.ts'
import { createTransport, type Fetch, type RegistryHosts } from '../oci/transport.ts'
import { systemReason } from '../system-error.ts'
import { registryLimitsOf } from './limits.ts'

export type Registries = AsyncDisposable & { client: RegistryClient; fetch: Fetch }

/** @throws MusterError config-invalid for a file that cannot be read, registry-invalid for contradicting settings. */
export function createRegistries({ config, proxy }: Pick<LoadedConfig, 'config' | 'proxy'>): Registries {
  const { credentials } = config.registry
  const hosts = Object.fromEntries(
    Object.entries(config.registry.hosts).map(([name, { plainHttp, ca, authRealms }]) => [
      name,
      {
        ...(plainHttp === undefined ? {} : { plainHttp }),
        ...(authRealms === undefined ? {} : { authRealms }),
        ...(ca === undefined ? {} : { ca: read(`registry.hosts.${name}.ca`, ca) }),
      },
    ]),
  ) satisfies RegistryHosts
  const transport = createTransport({ hosts, proxy })
  const client = createRegistryClient({
    fetch: transport.fetch,
    hosts,
    limits: registryLimitsOf(config),
    ...(credentials === undefined
      ? {}
      : { credentials: dockerCredentials(read('registry.credentials', credentials)) }),
  })
  return { client, fetch: transport.fetch, [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose]() }
}

function read(key: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new MusterError(
      'config-invalid',
      `${key}: the file ${path} cannot be read: ${systemReason(cause)}. Name another one.`,
      { cause },
    )
  }
}
