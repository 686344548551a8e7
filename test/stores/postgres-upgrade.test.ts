import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals'
import { Pool } from 'pg'
import { openRecord } from '../../lib/session.ts'
import type { SessionRecord } from '../../lib/session.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { postgresStore } from '../../stores/postgres.ts'
import { query } from '../support/postgres-commands.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import {
  check,
  feedEnd,
  hash,
  heard,
  HOUR,
  LIFETIMES,
  listed,
  newSession,
  newUser,
  open,
  read,
  revocation,
} from './contract/support.ts'
import { newSchema } from './postgres/open.ts'
import { contentsOf } from './postgres/server.ts'

const FOLDER = new URL('postgres/version-1/', import.meta.url)
/** What schema version 1 was made by, and what its nodes say: `public`, `latchkey_`. */
const SCHEMA_1 = readFileSync(new URL('schema.sql', FOLDER), 'utf8')
const STATEMENTS_1: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL('statements.json', FOLDER), 'utf8'),
)

const name = newSchema()
const server = { url: sharedPostgresUrl() }
let pool: Pool
let store: PostgresStore

beforeAll(async () => {
  await query(server, `create database "${name}" template template0 encoding 'UTF8'`)
  const { href } = Object.assign(new URL(server.url), { pathname: name })
  pool = new Pool({ connectionString: href, connectionTimeoutMillis: 10_000 })
  store = postgresStore({ pool, operationTimeout: '10s', pruneInterval: false })
  await pool.query(SCHEMA_1)
})

afterAll(async () => {
  await store.close()
  await pool.end()
  await query(server, `drop database "${name}" with (force)`)
})

/** A node of version 1. */
async function say(statement: string, ...values: unknown[]): Promise<unknown[] | undefined> {
  const text = STATEMENTS_1[statement]
  if (text === undefined) throw new Error(statement)
  const { rows } = await pool.query({
    text,
    values: [null, statement === 'list' || statement === 'deny' ? [] : '9000', values].flat(),
    rowMode: 'array',
  })
  return rows[0] as unknown[] | undefined
}

async function openAtVersion1(user = newUser()): Promise<SessionRecord> {
  const session = newSession(user)
  const { sid, seedHash, bindingHash } = session
  const who = [sid, user.tenant, user.id, seedHash, bindingHash, 'label', 'ip', true]
  const what = [JSON.stringify(session.attributes), null, HOUR, HOUR, 100, 'evict', 0]
  const row = await say('open', ...who, ...what, false, null, null, null, null)
  expect(row?.[0]).toBe('created')
  return openRecord(session, LIFETIMES, 0)
}

async function rotateAtVersion1(
  statement: 'rotate' | 'rotateOrRevokeUser',
  session: SessionRecord,
  generation: number,
): Promise<unknown[]> {
  const { sid, seedHash, bindingHash } = session
  const answer = await say(statement, sid, seedHash, generation, hash(), bindingHash, 0, 0, HOUR)
  return answer ?? ['gone']
}

async function checkAtVersion1({ sid, seedHash }: SessionRecord): Promise<boolean> {
  const answer = await say('check', sid, seedHash, null, null, false, HOUR)
  return answer?.[0] === sid
}

describe('a schema of version 1', () => {
  it('is brought to what a new one is, with the sessions that are in it', async () => {
    const old = await openAtVersion1()
    expect((await rotateAtVersion1('rotate', old, 0))[0]).toBe('rotated')
    expect(await store.migrate()).toEqual({ from: 1, to: 2 })
    expect(await read(store, old)).toMatchObject({ sid: old.sid, generation: 1 })

    const fresh = newSchema()
    const other = postgresStore({ pool, schema: fresh, pruneInterval: false })
    await other.migrate()
    const own = await contentsOf(pool, fresh)
    const upgraded = await contentsOf(pool, 'public')
    await other.close()
    await pool.query(`drop schema "${fresh}" cascade`)
    const comparable = (lines: string[]) =>
      lines
        .map((line) => line.replaceAll(/"?\b(?:public|SCHEMA)\b"?\./g, ''))
        // A lock and a channel are named by the schema.
        .map((line) => line.replaceAll(/-?\d{15,}|latchkey_feed_[0-9a-f]{16}/g, 'NAME'))
        .toSorted()
    expect(comparable(upgraded)).toEqual(comparable(own))
  })

  it('serves nodes of version 1 on', async () => {
    const user = newUser()
    const [one, two, three, four] = [
      await openAtVersion1(user),
      await openAtVersion1(user),
      await openAtVersion1(),
      await open(store),
    ]
    const cursor = await feedEnd(store)
    expect(await checkAtVersion1(one)).toBe(true)
    expect((await rotateAtVersion1('rotate', one, 0))[0]).toBe('rotated')
    expect((await rotateAtVersion1('rotateOrRevokeUser', two, 0))[0]).toBe('rotated')
    const missing = { ...one, sid: newSession(user).sid }
    expect((await rotateAtVersion1('rotateOrRevokeUser', missing, 0))[0]).toBe('gone')
    await rotateAtVersion1('rotateOrRevokeUser', two, 1)
    const reused = await rotateAtVersion1('rotateOrRevokeUser', two, 0)
    expect([reused[0], reused[1]]).toEqual(['reused', expect.stringMatching(/^\d{13}$/)])
    expect(reused[2]).toEqual(expect.arrayContaining([one.sid, two.sid]))
    expect((await say('revoke', four.sid, null, null, null))?.[0]).toBe(four.sid)
    expect(await say('revokeUser', '', three.user.id, null)).toEqual([[three.sid]])

    const ended = [one, two, three, four]
    const entries = await heard(store, cursor, ended)
    expect(entries).toHaveLength(4)
    expect(entries).toEqual(expect.arrayContaining(ended.map(revocation)))
    expect(await listed(store, user)).toEqual([])
  })

  it('lets nodes of both versions see each other’s sessions', async () => {
    const mine = await open(store)
    const theirs = await openAtVersion1()
    expect(await check(store, theirs.sid)).toBe('alive')
    expect(await checkAtVersion1(mine)).toBe(true)
  })
})
