import type { AuditEvent, AuditQuery, Page } from '../../lib/store.ts'
import type { JsonObject } from '../../lib/session.ts'
import type { UserRef } from '../../lib/user.ts'
import { AUDIT_COLUMNS, auditValues } from './audit-row.ts'
import type { Names } from './names.ts'
import type { Row } from './record.ts'
import { text } from './record.ts'
import type { Runner, Statement } from './runner.ts'
import { statement } from './runner.ts'

const CURSOR = /^\d{1,18}$/

/** The audit trail: a row an event. */
export class PostgresAudit {
  readonly #runner: Runner
  readonly #names: Names
  readonly #append: Statement

  constructor(runner: Runner, names: Names) {
    this.#runner = runner
    this.#names = names
    this.#append = statement('audit_append', appendSql(names))
  }

  async append(events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return
    const columns: (string | null)[][] = AUDIT_COLUMNS.map(() => [])
    for (const event of events) {
      for (const [index, value] of auditValues(event).entries()) columns[index]?.push(value)
    }
    await this.#runner.run(this.#append, [events.map(({ at }) => at), ...columns])
  }

  async query(query: AuditQuery): Promise<Page<AuditEvent>> {
    const { cursor, limit } = query
    if (cursor !== undefined && !CURSOR.test(cursor)) return { items: [], next: null }
    const { sql, values } = querySql(this.#names, query)
    const rows = await this.#runner.run(statement('audit_query', sql), values)
    const items = rows.slice(0, limit)
    const last = items.at(-1)
    return {
      items: items.map(eventOf),
      next: last !== undefined && rows.length > limit ? text(last[0]) : null,
    }
  }
}

/** `$1` instants, `$2` and so on a column each. */
function appendSql(names: Names): string {
  const arrays = AUDIT_COLUMNS.map((_, index) => `$${index + 2}::text[]`).join(', ')
  const columns = AUDIT_COLUMNS.join(', ')
  const values = AUDIT_COLUMNS.map((column) =>
    column === 'detail' ? 'e.detail::json' : `e.${column}`,
  )
  return `insert into ${names.audit} (at, ${columns})
select to_timestamp(e.at / 1000.0), ${values.join(', ')}
from unnest($1::bigint[], ${arrays}) with ordinality e(at, ${columns}, n) order by e.n`
}

/** Only the conditions that are asked for, so that each combination finds its index. */
function querySql(
  names: Names,
  { user, sessionId, type, from, to, cursor, limit }: AuditQuery,
): { readonly sql: string; readonly values: unknown[] } {
  const values: unknown[] = [limit + 1]
  const conditions: string[] = []
  const where = (condition: (parameter: string) => string, value: unknown) => {
    if (value === undefined) return
    values.push(value)
    conditions.push(condition(`$${values.length}`))
  }
  where((is) => `user_id = ${is}::text`, user?.id)
  where((is) => `tenant = ${is}::text`, user?.tenant)
  where((is) => `session_id = ${is}::text`, sessionId)
  where((is) => `type = ${is}::text`, type)
  where((is) => `at >= to_timestamp(${is}::bigint / 1000.0)`, from)
  where((is) => `at < to_timestamp(${is}::bigint / 1000.0)`, to)
  where((is) => `seq < ${is}::bigint`, cursor)
  const condition = conditions.length === 0 ? '' : `where ${conditions.join(' and ')} `
  const sql = `select seq, (extract(epoch from at) * 1000)::bigint, ${AUDIT_COLUMNS.join(', ')}
from ${names.audit} ${condition}order by seq desc limit $1::bigint`
  return { sql, values }
}

function eventOf(row: Row): AuditEvent {
  const [, at, type, result, tenant, id, actorTenant, actorId, ...rest] = row
  const [sessionId, ip, userAgent, cause, detail] = rest
  const user = userOf(tenant, id)
  const actor = userOf(actorTenant, actorId)
  return {
    type: text(type),
    at: Number(at),
    result: result === 'success' ? result : 'failure',
    ...(user && { user }),
    ...(actor && { actor }),
    ...given('sessionId', sessionId),
    ...given('ip', ip),
    ...given('userAgent', userAgent),
    ...given('cause', cause),
    ...(typeof detail === 'string' && { detail: parseDetail(detail) }),
  }
}

function userOf(
  tenant: string | null | undefined,
  id: string | null | undefined,
): UserRef | undefined {
  return typeof tenant === 'string' && typeof id === 'string' ? { tenant, id } : undefined
}

function given<Key extends string>(
  key: Key,
  value: string | null | undefined,
): { readonly [K in Key]?: string } {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a computed key widens to string
  return (typeof value === 'string' ? { [key]: value } : {}) as { readonly [K in Key]?: string }
}

function parseDetail(json: string): JsonObject {
  return JSON.parse(json)
}
