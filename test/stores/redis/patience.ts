import type { Cluster, Redis } from 'ioredis'

/** No machine stands still for so long. */
const PATIENCE_MS = 60_000
const PATIENT = { socketTimeout: PATIENCE_MS, connectTimeout: PATIENCE_MS }

/**
 * Has the connections that a store makes for itself wait for longer than a store would: what it does about
 * a server that is silent for two seconds is for tests of that, and no other is to fail of it.
 */
export function patient<Client extends Redis | Cluster>(client: Client): Client {
  const duplicate = client.duplicate.bind(client) as (...args: unknown[]) => unknown
  client.duplicate = (...[first, second]: [unknown?, object?]): never => {
    const made = client.isCluster
      ? duplicate(first, patientCluster(second))
      : duplicate({ ...(first as object), ...PATIENT })
    return made as never
  }
  return client
}

function patientCluster(options: { readonly redisOptions?: object } = {}): object {
  const redisOptions = { ...options.redisOptions, ...PATIENT }
  return { ...options, slotsRefreshTimeout: PATIENCE_MS, redisOptions }
}
