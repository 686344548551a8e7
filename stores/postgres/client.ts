/**
 * The parts of `pg` this store calls, spelled out so that latchkey's types do not depend on those of
 * `pg`: a `Pool`, a `PoolClient` or a `Client` of pg 8 fits.
 */
export interface PostgresClient {
  query(query: PostgresQuery): Promise<PostgresResult>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A statement as `pg` takes it. */
export interface PostgresQuery {
  readonly text: string
  /** Prepared under this name once a connection. */
  readonly name?: string
  readonly values?: unknown[]
  readonly rowMode: 'array'
  readonly types: { getTypeParser(): (value: string) => string }
}

/** Rows as arrays of texts: what an app tells `pg` about types changes nothing here. */
export interface PostgresResult {
  readonly rows: unknown[]
  readonly rowCount: number | null
}

/** A client that a pool lends. */
export interface PostgresPoolClient extends PostgresClient {
  /** Gives it back; with an error, or true, it is not used again. */
  release(destroy?: Error | boolean): void
}

/** A `pg` pool. */
export interface PostgresPool {
  readonly totalCount: number
  readonly waitingCount: number
  readonly options: object
  connect(): Promise<PostgresPoolClient>
  connect(
    callback: (error: Error | undefined, client: PostgresPoolClient | undefined) => void,
  ): void
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A connection of the store's own. */
export interface OwnClient extends PostgresClient {
  connect(): Promise<unknown>
  end(): Promise<unknown>
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'end' | 'notification', listener: () => void): unknown
}

export function isPool(client: PostgresPool | PostgresClient): client is PostgresPool {
  return 'totalCount' in client
}

/** How many connections a pool makes at most; 1 for a client. */
export function connectionsOf(client: PostgresPool | PostgresClient): number {
  if (!isPool(client)) return 1
  const { options } = client
  return 'max' in options && typeof options.max === 'number' ? options.max : 10
}
