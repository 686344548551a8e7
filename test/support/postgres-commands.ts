import { Client, type QueryResultRow } from 'pg'

/** A database is made and dropped by one statement, and the disk may be busy. */
const ANSWER_MS = 20_000

/** Runs one statement on a connection of its own. @throws when the server is down, frozen, or refuses */
export async function query<Row extends QueryResultRow>(
  { url }: { readonly url: string },
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: ANSWER_MS,
    query_timeout: ANSWER_MS,
  })
  // Whatever happens to the connection is told by the statement.
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<Row>(text, [...values])
    return rows
  } finally {
    await client.end()
  }
}
