import { migrate, migrationScript } from '../../stores/postgres/migrate.ts'
import { parseNames } from '../../stores/postgres/options.ts'
import type { Command } from './command.ts'
import { parseOptions } from './command.ts'
import { databaseUrl, POSTGRES_HELP, POSTGRES_OPTIONS, withPool } from './postgres.ts'

/** `npx latchkey migrate` */
export const migrateCommand: Command = {
  summary: 'brings the Postgres schema to the version of this latchkey',
  help: `Usage: npx latchkey migrate [options]

Brings the Postgres schema to the version of this latchkey, in one transaction. Done before, it
changes nothing.

${POSTGRES_HELP}
  --grant-to <role>      also grant a role what the app needs, and no more
  --print                print the SQL of the whole schema instead, without connecting
`,
  async run(args, io) {
    const options = parseOptions(args, {
      ...POSTGRES_OPTIONS,
      'grant-to': { type: 'string' },
      print: { type: 'boolean' },
    })
    const { schema = 'public', 'table-prefix': prefix = 'latchkey_' } = options
    const names = parseNames(schema, prefix)
    const grantTo = options['grant-to']
    if (options.print === true) return io.print(migrationScript(names, { grantTo }))
    const url = databaseUrl(options.url, io)
    const { from, to } = await withPool(url, async (pool) => migrate(pool, names, { grantTo }))
    io.print(
      from === to
        ? `schema ${schema} is at version ${to}, nothing to do\n`
        : `schema ${schema} is now at version ${to}, was at ${from}\n`,
    )
  },
}
