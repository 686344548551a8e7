import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from '@jest/globals'
import type { AuditEvent } from '../../lib/store.ts'
import type { PostgresStore } from '../../stores/postgres.ts'
import { sharedPostgresUrl } from '../support/postgres-server.ts'
import { describeAudit } from './contract/service.ts'
import { useStore } from './contract/support.ts'
import { DAY, newUser } from './contract/support.ts'
import { openOn, useDatabase } from './postgres/open.ts'
import { useRole } from './postgres/role.ts'

const PAGE = fileURLToPath(new URL('../../docs/stores.md', import.meta.url))
const [TO_PARTITIONS = '', NEXT_PARTITION = '', DROPPED = ''] = [
  ...readFileSync(PAGE, 'utf8').matchAll(/^```sql\n([^]*?)^```$/gm),
].map(([, sql]) => sql ?? '')

const NOW = Date.now()

/** The first day of a month from now, as the page has it. */
function firstOf(months: number): string {
  const now = new Date(NOW)
  const first = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + months))
  return first.toISOString().slice(0, 10)
}

/** The page names months of its own; here they are the next ones. */
function dated(sql: string): string {
  return sql
    .replaceAll('2027-01-01', firstOf(1))
    .replaceAll('2027-02-01', firstOf(2))
    .replaceAll('2027-03-01', firstOf(3))
}

describe('an audit trail in partitions, as docs/stores.md makes it', () => {
  const database = useDatabase(sharedPostgresUrl)
  const app = useRole(database)
  const user = newUser()

  beforeAll(async () => {
    const store = database.store()
    await appendAt(store, NOW - 2 * DAY, ['a', 'b'])
    await run(TO_PARTITIONS)
    await app.grant()
    await store.close()
  })

  /** Runs SQL of the page, which names no schema. */
  async function run(sql: string): Promise<void> {
    const client = await database.pool.connect()
    await client.query(`set search_path to "${database.schema}"`)
    await client.query(dated(sql))
    client.release(true)
  }

  async function appendAt(store: PostgresStore, at: number, named: string[]): Promise<void> {
    const event = (cause: string): AuditEvent => ({ type: 'x', at, result: 'success', user, cause })
    await store.audit.append(named.map(event))
  }

  async function causes(store: PostgresStore): Promise<(string | undefined)[]> {
    const { items } = await store.audit.query({ user, limit: 100 })
    return items.map(({ cause }) => cause)
  }

  async function partitions(): Promise<string[]> {
    const { rows } = await database.pool.query({
      text: `select inhrelid::regclass::text as name from pg_inherits
      where inhparent = '"${database.schema}".latchkey_audit'::regclass order by 1`,
    })
    return rows.map(({ name }) => name.split('.')[1])
  }

  describe('for its owner', () => describeAudit(useStore(openOn(database))))
  describe('for the role of an app', () => describeAudit(useStore(openOn(app))))

  it('has what was there before, and new events after it', async () => {
    const store = app.store()
    await appendAt(store, NOW, ['c'])
    expect(await causes(store)).toEqual(['c', 'b', 'a'])
    await store.close()
  })

  it('has a partition for each month, and one for the rest', async () => {
    await run(NEXT_PARTITION)
    expect(await partitions()).toEqual([
      'latchkey_audit_2027_01',
      'latchkey_audit_2027_02',
      'latchkey_audit_first',
      'latchkey_audit_rest',
    ])
    const store = app.store()
    for (const [index, months] of [1, 2, 5].entries()) {
      await appendAt(store, Date.parse(firstOf(months)), [`later ${index}`])
    }
    expect((await causes(store)).slice(0, 3)).toEqual(['later 2', 'later 1', 'later 0'])
    await store.close()
  })

  it('loses to prune what is too old, and nothing else', async () => {
    const since = (NOW + Date.parse(firstOf(1))) / 2
    const clock = () => Math.floor(since) + 90 * DAY
    const store = database.store({ clock, auditRetention: '90d' })
    expect(await causes(store)).toEqual(['later 2', 'later 1', 'later 0', 'c', 'b', 'a'])
    await store.prune()
    expect(await causes(store)).toEqual(['later 2', 'later 1', 'later 0'])
    await store.close()
  })

  it('ages by dropping a partition', async () => {
    await run(DROPPED)
    const store = app.store()
    expect(await partitions()).not.toContain('latchkey_audit_first')
    expect(await causes(store)).toEqual(['later 2', 'later 1', 'later 0'])
    await appendAt(store, NOW, ['late'])
    expect((await causes(store))[0]).toBe('late')
    await store.close()
  })
})
