import { beforeAll, describe, expect, it } from '@jest/globals'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { describeStore } from './contract.ts'
import { DAY, listed, LIFETIMES, newUser, open } from './contract/support.ts'
import { openOn, useDatabase } from './postgres/open.ts'
import { useRole } from './postgres/role.ts'

const FORBIDDEN = '42501'

describe('as a role that was given what an app needs', () => {
  const owner = useDatabase(sharedPostgresUrl)
  const app = useRole(owner)

  describeStore('postgresStore', openOn(app))

  describe('the rest', () => {
    const user = newUser()

    beforeAll(async () => {
      const store = app.store()
      await open(store, user)
      const old = Date.now() - 100 * DAY
      await store.audit.append([{ type: 'login', at: old, result: 'success', user }])
      await store.close()
    })

    it.each([
      'create table "SCHEMA".mine ()',
      'create function "SCHEMA".mine() returns void language sql as $$ $$',
      'create schema latchkey_mine',
      'alter table "SCHEMA".latchkey_session add column mine text',
      'alter table "SCHEMA".latchkey_feed disable trigger all',
      'drop table "SCHEMA".latchkey_session',
      'drop function "SCHEMA".latchkey_revoke_user_2 cascade',
      'truncate "SCHEMA".latchkey_session',
      'truncate "SCHEMA".latchkey_audit',
      `insert into "SCHEMA".latchkey_migration (version, name) values (99, 'mine')`,
      `update "SCHEMA".latchkey_feed set sid = 'x'`,
      `update "SCHEMA".latchkey_meta set feed_id = 'x'`,
      'delete from "SCHEMA".latchkey_signing_keys',
    ])('it may not: %s', async (sql) => {
      await expect(app.pool.query(sql.replace('SCHEMA', app.schema))).rejects.toMatchObject({
        code: FORBIDDEN,
      })
    })

    it.each([
      `update "SCHEMA".latchkey_audit set type = 'x'`,
      'delete from "SCHEMA".latchkey_audit',
      'select 1 from "SCHEMA".latchkey_audit for update',
      `insert into "SCHEMA".latchkey_audit (at, type, result) values (now(), 'x', 'success')
      on conflict do nothing; delete from "SCHEMA".latchkey_audit where type = 'x'`,
    ])('of the audit trail it may neither change nor remove anything: %s', async (sql) => {
      await expect(app.pool.query(sql.replaceAll('SCHEMA', app.schema))).rejects.toMatchObject({
        code: FORBIDDEN,
      })
      const store = app.store()
      expect((await store.audit.query({ user, limit: 10 })).items).toHaveLength(1)
      await store.close()
    })

    it('it prunes sessions and leaves the audit trail', async () => {
      let now = Date.now()
      const store = app.store({ clock: () => now })
      const session = await open(store)
      now += LIFETIMES.absoluteTimeoutMs
      expect(await store.prune()).toBeGreaterThanOrEqual(1)
      expect(await listed(store, session.user)).toEqual([])
      expect((await store.audit.query({ user, limit: 10 })).items).toHaveLength(1)
      await store.close()

      const owning = owner.store()
      await owning.prune()
      expect((await owning.audit.query({ user, limit: 10 })).items).toEqual([])
      await owning.close()
    })

    it('it finds the schema up to date, and nothing wrong', async () => {
      const store = app.store()
      expect(await store.migrate()).toEqual({ from: 2, to: 2 })
      const findings = await store.inspect()
      expect(findings.filter(({ code }) => code !== 'postgres_durability')).toEqual([])
      await store.close()
    })
  })
})
