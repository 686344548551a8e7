import type { StoreFinding } from '../../lib/store.ts'

/** What a process can know of others like it. */
export interface ProcessFacts {
  /** `cluster.isWorker`. */
  readonly isClusterWorker: boolean
  readonly env: Readonly<Record<string, string | undefined>>
}

/**
 * Finds a memory store in one of several processes: a session that one of them opened is unknown to
 * the others, and no revocation reaches them.
 *
 * Only what counts processes is evidence. `WEB_CONCURRENCY` or a container are not: most of them run
 * one process.
 */
export function findProcesses(facts: ProcessFacts): StoreFinding[] {
  const by = manager(facts)
  if (by === null) return []
  return [
    {
      code: 'memory_store_shared',
      message:
        `${by} runs several processes, and the memory store keeps sessions in each by itself: ` +
        'logins come and go with the process that answers; use redisStore or postgresStore',
    },
  ]
}

function manager({ isClusterWorker, env }: ProcessFacts): string | null {
  // PM2's cluster mode is node:cluster too, and runs a single process by default.
  const isPm2 = env['pm_id'] !== undefined
  const isPm2Cluster = isPm2 && env['exec_mode'] === 'cluster_mode'
  if (isPm2 && (isOver(env['instances'], 1) || isOver(env['NODE_APP_INSTANCE'], 0))) return 'PM2'
  if (isClusterWorker && !isPm2Cluster) return 'node:cluster'
  if (env['AWS_LAMBDA_FUNCTION_NAME'] !== undefined) return 'AWS Lambda'
  if (isOver(env['CF_INSTANCE_INDEX'], 0)) return 'Cloud Foundry'
  if (isOver(/^[a-z][\w-]*\.(\d+)$/i.exec(env['DYNO'] ?? '')?.[1], 1)) return 'Heroku'
  return null
}

function isOver(count: string | undefined, limit: number): boolean {
  return count !== undefined && /^\d{1,6}$/.test(count) && Number(count) > limit
}
