import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Pool } from 'pg'
import type { PostgresStoreOptions } from '../../stores/postgres.ts'
import { query } from '../support/postgres-commands.ts'
import type { PostgresServer } from '../support/postgres-server.ts'
import { sharedPostgresUrl, startPostgres } from '../support/postgres-server.ts'
import { useServer } from './postgres/server.ts'

describe('inspect', () => {
  const server = useServer()
  let schema: string

  beforeAll(async () => {
    schema = server.schema()
    const store = server.store(schema)
    await store.migrate()
    await store.close()
  })

  /** The codes of what is found, but for one that the tests' server has for its speed. */
  async function found(options: Partial<PostgresStoreOptions> = {}, of = schema) {
    const store = server.store(of, options)
    const findings = await store.inspect()
    await store.close()
    return findings.map(({ code }) => code).filter((code) => code !== 'postgres_durability')
  }

  async function foundWith(settings: string) {
    return found({ pool: server.poolWith({ settings }) })
  }

  it('finds nothing where all is well', async () => {
    expect(await found()).toEqual([])
  })

  it('finds a schema that is missing', async () => {
    expect(await found({}, server.schema())).toEqual(['postgres_schema'])
    expect(await found({ tablePrefix: 'other_' })).toEqual(['postgres_schema'])
  })

  it('finds a schema that is newer, and names both versions', async () => {
    const newer = server.schema()
    const store = server.store(newer)
    await store.migrate()
    await server.pool.query(`insert into "${newer}".latchkey_migration values (99, 'later')`)
    const findings = await store.inspect()
    expect(findings.at(-1)).toMatchObject({ code: 'postgres_schema' })
    expect(findings.at(-1)?.message).toContain('99')
    await store.close()
  })

  it('finds an isolation at which logins fail', async () => {
    for (const level of ['repeatable\\ read', 'serializable']) {
      expect(await foundWith(`-c default_transaction_isolation=${level}`)).toEqual([
        'postgres_isolation',
      ])
    }
  })

  it('finds a server that takes no writes', async () => {
    expect(await foundWith('-c default_transaction_read_only=on')).toEqual(['postgres_read_only'])
  })

  it('finds a pool that waits for ever', async () => {
    const pool = new Pool({ connectionString: sharedPostgresUrl() })
    expect(await found({ pool })).toEqual(['postgres_pool_timeout'])
    await pool.end()
  })

  it('does not ask that of a client', async () => {
    const client = await server.pool.connect()
    expect(await found({ pool: client })).toEqual([])
    client.release()
  })

  describe('durability', () => {
    let own: PostgresServer

    beforeAll(async () => {
      own = await startPostgres({ config: { fsync: 'on' } })
    })

    afterAll(() => own.cleanUp())

    async function isDurable(settings?: string) {
      const pool = server.poolWith({ url: own.url, ...(settings !== undefined && { settings }) })
      const store = server.store(schema, { pool })
      const findings = await store.inspect()
      await store.close()
      return findings.every(({ code }) => code !== 'postgres_durability')
    }

    it('is found where a crash undoes what was acknowledged', async () => {
      expect(await isDurable('-c synchronous_commit=off')).toBe(false)
      expect(await isDurable('-c synchronous_commit=local')).toBe(true)
      expect(await isDurable()).toBe(true)
      await query(own, 'alter system set fsync = off')
      await own.restart()
      expect(await isDurable()).toBe(false)
    })
  })
})
