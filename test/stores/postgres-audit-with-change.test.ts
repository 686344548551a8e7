import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'
import { createNames } from '../../stores/postgres/names.ts'
import type { AuditEvent, Store } from '../../lib/store.ts'
import type { UserRef } from '../../lib/user.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { check, login, newSession, open, read, refresh } from './contract/support.ts'
import { useDatabase } from './postgres/open.ts'

const SCRIPT = fileURLToPath(new URL('postgres/dies-at-once.ts', import.meta.url))

const database = useDatabase(sharedPostgresUrl)
const names = createNames(database.schema, 'latchkey_')

async function trail(store: Store, user: UserRef): Promise<readonly AuditEvent[]> {
  const { items } = await store.audit.query({ user, limit: 100 })
  return items.toReversed()
}

function event(type: string, user: UserRef): AuditEvent {
  return { type, at: Date.now(), result: 'success', user }
}

describe('a node that is killed in the moment it is answered', () => {
  it('leaves every change it was answered in the trail, once', async () => {
    const args = ['--import', 'tsx', SCRIPT, sharedPostgresUrl(), database.schema]
    const { stdout, stderr, signal } = spawnSync(process.execPath, args, {
      encoding: 'utf8',
      timeout: 60_000,
    })
    expect([signal, stderr.replaceAll(/.*Warning.*\n|\(Use .*\n/g, '')]).toEqual(['SIGKILL', ''])
    const { user, opened, revoked, ended } = JSON.parse(stdout)
    expect([revoked, ended]).toEqual([true, 1])

    const store = database.store()
    const events = await trail(store, { tenant: '', id: user })
    const lines = events.map(({ type, sessionId, cause, actor, detail }) =>
      [type, opened.indexOf(sessionId), cause, actor?.id, JSON.stringify(detail)].join(' '),
    )
    expect(lines).toEqual([
      'session_created 0   ',
      'session_created 1   ',
      'session_created 2   ',
      'session_updated 0 app  {"ver":1}',
      'session_revoked 1 stolen root ',
      'authn_token_revoked 2 stolen root {"revoked":1}',
    ])
    await store.close()
  }, 90_000)
})

describe('a change that fails', () => {
  it('leaves nothing in the trail', async () => {
    const store = database.store()
    const session = await open(store)
    const { sid, user } = session
    // The last thing each of them does fails: the trail had its row by then.
    await database.pool.query(`
      create function "${database.schema}".fail() returns trigger language plpgsql as
        $$ begin raise exception 'no' using errcode = 'P0001'; end $$;
      create constraint trigger fail after insert or update or delete on ${names.session}
        deferrable initially deferred for each row execute function "${database.schema}".fail()`)
    try {
      const audit = event('tried', user)
      const opened = { evicted: audit, replaced: audit, opened: [audit] }
      const rotated = { recovered: audit, deviceChanged: audit, boundOnly: false, reused: audit }
      const { attributes } = session
      const tries = [
        async () => store.create(login(newSession(user), { audit: opened })),
        async () => store.revoke({ sid, audit }),
        async () => store.revokeUser({ user, audit }),
        async () => store.update({ sid, ver: 0, attributes, audit }),
        async () => store.rotate(refresh(session, { generation: 5, audit: rotated })),
      ]
      for (const attempt of tries) await expect(attempt()).rejects.toMatchObject({ code: 'P0001' })
    } finally {
      await database.pool.query(`drop function "${database.schema}".fail() cascade`)
    }
    expect(await trail(store, user)).toEqual([])
    expect(await read(store, session)).toEqual(session)
    await store.close()
  })

  it('because the trail takes nothing is not made', async () => {
    const store = database.store()
    const session = await open(store)
    const { sid, user } = session
    const audit = event('tried', user)
    const constraint = `alter table ${names.audit} add constraint none check (type <> 'tried') not valid`
    await database.pool.query(constraint)
    try {
      await expect(store.revoke({ sid, audit })).rejects.toMatchObject({ code: '23514' })
      await expect(store.revokeUser({ user, audit })).rejects.toMatchObject({ code: '23514' })
    } finally {
      await database.pool.query(`alter table ${names.audit} drop constraint none`)
    }
    expect(await check(store, sid)).toBe('alive')
    await store.close()
  })

  it('with the app’s transaction leaves nothing in the trail', async () => {
    const store = database.store()
    const { sid, user } = await open(store)
    const audit = event('undone', user)
    const client = await database.pool.connect()
    await client.query('begin')
    const inside = database.store({ pool: client })
    await inside.revoke({ sid, audit })
    expect(await trail(inside, user)).toEqual([audit])
    await client.query('rollback')
    client.release()
    expect(await trail(store, user)).toEqual([])
    await store.close()
  })
})
