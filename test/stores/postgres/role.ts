import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll } from '@jest/globals'
import { Pool } from 'pg'
import { grantScript } from '../../../stores/postgres/migrate.ts'
import { createNames } from '../../../stores/postgres/names.ts'
import { sharedPostgresUrl } from '../../support/postgres-server.ts'
import type { Database } from './open.ts'

/** The same schema, as a role that was given what an app needs and nothing else. */
export interface RoleDatabase extends Database {
  readonly role: string
  /** Grants it again, for tables that were made since. */
  grant(): Promise<void>
}

/** Makes a role before the tests of a `describe`, after the schema; removes it after. */
export function useRole(owner: Database): RoleDatabase {
  // Quoted and odd, as a role's name may be.
  const role = `app "${randomBytes(6).toString('hex')}`
  const password = randomBytes(12).toString('hex')
  const quoted = `"${role.replaceAll('"', '""')}"`
  let pool: Pool | undefined
  const database: RoleDatabase = {
    get pool() {
      if (pool === undefined) throw new Error('no pool is open')
      return pool
    },
    schema: owner.schema,
    role,
    store: (options) => owner.store({ pool: database.pool, ...options }),
    async grant() {
      await owner.pool.query(grantScript(createNames(owner.schema, 'latchkey_'), role))
    },
  }
  beforeAll(async () => {
    // What a careful administrator takes from everybody.
    await owner.pool.query(
      `revoke execute on all functions in schema "${owner.schema}" from public`,
    )
    await owner.pool.query(`create role ${quoted} login password '${password}'`)
    await database.grant()
    const url = Object.assign(new URL(sharedPostgresUrl()), { username: role, password })
    pool = new Pool({ connectionString: url.href, connectionTimeoutMillis: 10_000, max: 20 })
  })
  afterAll(async () => {
    await pool?.end()
    const client = new Pool({ connectionString: sharedPostgresUrl(), max: 1 })
    await client.query(`drop owned by ${quoted}`)
    await client.query(`drop role ${quoted}`)
    await client.end()
  })
  return database
}
