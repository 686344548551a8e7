export type {
  PostgresClient,
  PostgresPool,
  PostgresPoolClient,
  PostgresQuery,
  PostgresResult,
} from './postgres/client.ts'
export type { PostgresStoreOptions } from './postgres/options.ts'
export type { PostgresStore } from './postgres/postgres-store.ts'
export { postgresStore } from './postgres/postgres-store.ts'
