import type { Duration } from '../../lib/duration.ts'
import { parseDuration } from '../../lib/duration.ts'
import { postgresStore } from '../../stores/postgres.ts'
import type { Command } from './command.ts'
import { parseOptions } from './command.ts'
import { databaseUrl, POSTGRES_HELP, POSTGRES_OPTIONS, withPool } from './postgres.ts'

/** The longest a store may be told to: what an app still needs is never removed by default. */
const KEEP_ALL = { feed: '7d', audit: '3650d' } as const

/** `npx latchkey prune` */
export const pruneCommand: Command = {
  summary: 'removes what is over from Postgres, for apps with pruneInterval: false',
  help: `Usage: npx latchkey prune [options]

Removes sessions that are over, and what else is too old, in batches that nobody waits for.

${POSTGRES_HELP}
  --feed-retention <d>   as the app's feedRetention, never less (${KEEP_ALL.feed})
  --audit-retention <d>  as the app's auditRetention (${KEEP_ALL.audit}); without the right to delete
                         audit events they stay
`,
  async run(args, io) {
    const options = parseOptions(args, {
      ...POSTGRES_OPTIONS,
      'feed-retention': { type: 'string', default: KEEP_ALL.feed },
      'audit-retention': { type: 'string', default: KEEP_ALL.audit },
    })
    const url = databaseUrl(options.url, io)
    const removed = await withPool(url, async (pool) => {
      const store = postgresStore({
        pool,
        schema: options.schema,
        tablePrefix: options['table-prefix'],
        feedRetention: durationOf('--feed-retention', options['feed-retention']),
        auditRetention: durationOf('--audit-retention', options['audit-retention']),
        // The URL may be a pooler's.
        prepare: false,
        pruneInterval: false,
      })
      const count = await store.prune()
      await store.close()
      return count
    })
    io.print(`sessions that were over, and were removed: ${removed}\n`)
  },
}

function durationOf(option: string, text: string): Duration {
  return `${parseDuration(option, text) / 1000}s`
}
