import type { Cluster, ClusterOptions, Redis, RedisOptions } from 'ioredis'

/** No machine stands still for so long. */
const PATIENCE_MS = 60_000

/**
 * Has the connections that a store makes for itself wait for longer than a store would: what it does about
 * a server that is silent for two seconds is for tests of that, and no other is to fail of it.
 */
export function patient<Client extends Redis | Cluster>(client: Client): Client {
  const duplicate = client.duplicate.bind(client) as (...args: unknown[]) => unknown
  client.duplicate = (...[first, second]: [unknown?, object?]): never => {
    const made = client.isCluster
      ? duplicate(first, patientCluster(second))
      : duplicate(patientOptions(first as RedisOptions))
    return made as never
  }
  return client
}

function patientCluster(options: ClusterOptions = {}): ClusterOptions {
  const redisOptions = patientOptions(options.redisOptions)
  return { ...options, slotsRefreshTimeout: PATIENCE_MS, redisOptions }
}

/** What waits for as long as it takes goes on doing so. */
function patientOptions(options: RedisOptions = {}): RedisOptions {
  const { socketTimeout } = options
  return {
    ...options,
    connectTimeout: PATIENCE_MS,
    ...(socketTimeout !== undefined && { socketTimeout: PATIENCE_MS }),
  }
}
