import type { StoreFinding } from '../../lib/store.ts'
import type { PostgresPool, PostgresClient } from './client.ts'
import { isPool } from './client.ts'
import { schemaVersion } from './migrate.ts'
import type { Names } from './names.ts'
import type { Runner } from './runner.ts'
import { statement } from './runner.ts'
import { SCHEMA_VERSION } from './schema.ts'

const MIN_VERSION = 140_000

const SETTINGS = statement(
  'inspect',
  `select current_setting('server_version_num'), current_setting('server_encoding'),
  current_setting('synchronous_commit'), current_setting('fsync'),
  current_setting('default_transaction_isolation'),
  pg_is_in_recovery() or current_setting('transaction_read_only')::boolean`,
)

/** What is unsafe about the server, the schema, or the pool. */
export async function inspectPostgres(
  runner: Runner,
  names: Names,
  client: PostgresPool | PostgresClient,
): Promise<readonly StoreFinding[]> {
  const [row] = await runner.run(SETTINGS, [])
  const [version, encoding, synchronous, fsync, isolation, readOnly] = row ?? []
  const findings: StoreFinding[] = []
  const find = (isWrong: boolean, code: string, message: string) => {
    if (isWrong) findings.push({ code, message })
  }
  find(
    Number(version) < MIN_VERSION,
    'postgres_version',
    `PostgreSQL ${Math.floor(Number(version) / 10_000)} is too old; latchkey needs 14 or newer`,
  )
  find(
    encoding !== 'UTF8',
    'postgres_encoding',
    `the database is encoded in ${encoding}, which has no room for every user id; create it with UTF8`,
  )
  find(
    synchronous === 'off' || fsync === 'off',
    'postgres_durability',
    'a crash of the server may undo acknowledged revocations; set synchronous_commit and fsync to on',
  )
  find(
    isolation !== 'read committed',
    'postgres_isolation',
    `default_transaction_isolation is ${isolation}: logins fail or are refused under load; ` +
      "set 'read committed' for latchkey's role",
  )
  find(
    readOnly === 't',
    'postgres_read_only',
    'the server takes no writes: it is a standby or read-only; connect to the primary',
  )
  find(
    isPool(client) && !hasConnectionTimeout(client.options),
    'postgres_pool_timeout',
    'the pool waits for ever for a server that does not answer: give it connectionTimeoutMillis, ' +
      'such as 2000',
  )
  const found = await schemaVersion(runner, names)
  find(
    found !== SCHEMA_VERSION,
    'postgres_schema',
    found > SCHEMA_VERSION
      ? `the schema is at version ${found}, this latchkey knows ${SCHEMA_VERSION}: use a newer one`
      : `the schema is at version ${found} of ${SCHEMA_VERSION}: run store.migrate() or npx latchkey migrate`,
  )
  return findings
}

function hasConnectionTimeout(options: object): boolean {
  return 'connectionTimeoutMillis' in options && Number(options.connectionTimeoutMillis) > 0
}
