import type { Answer, Node } from '../redis/node.ts'
import type { Storm } from '../redis/storm.ts'
import { startStorm } from '../redis/storm.ts'
import type { HttpClient } from './node.ts'

/** A storm at apps, and all that they answered to it. */
export interface WatchedStorm extends Storm {
  readonly answers: readonly Answer[]
}

/** The storm of the Redis suites: all it needs of a node is to log in and to refresh. */
export async function stormAt(
  apps: readonly HttpClient[],
  users: number | readonly string[],
  pauseMs?: number,
): Promise<WatchedStorm> {
  const answers: Answer[] = []
  const watched = apps.map((app) => ({
    login: async (user?: string) => app.login(user),
    async refresh(token: string) {
      const answer = await app.refresh(token)
      answers.push(answer)
      return answer
    },
    get closed() {
      return app.closed
    },
  }))
  const storm = await startStorm(watched as readonly unknown[] as readonly Node[], users, pauseMs)
  return {
    clients: storm.clients,
    answers,
    get outages() {
      return storm.outages
    },
    get longestMs() {
      return storm.longestMs
    },
    stop: async () => storm.stop(),
  }
}
