import type { AuditEvent, OpenAudit, RotateAudit } from '../../lib/store.ts'
import type { Names } from './names.ts'

/** The columns of an event but for its time and number. */
export const AUDIT_COLUMNS = [
  'type',
  'result',
  'tenant',
  'user_id',
  'actor_tenant',
  'actor_id',
  'session_id',
  'ip',
  'user_agent',
  'cause',
  'detail',
] as const

type AuditColumn = (typeof AUDIT_COLUMNS)[number]

/** What an event says in the order of {@link AUDIT_COLUMNS}. */
export function auditValues(event: AuditEvent): (string | null)[] {
  const { user, actor, sessionId = null, ip = null, userAgent = null, cause = null } = event
  return [
    event.type,
    event.result,
    user?.tenant ?? null,
    user?.id ?? null,
    actor?.tenant ?? null,
    actor?.id ?? null,
    sessionId,
    ip,
    userAgent,
    cause,
    event.detail === undefined ? null : JSON.stringify(event.detail),
  ]
}

/** An event as a statement takes it, by column. */
function auditRow(event: AuditEvent): Readonly<Record<string, unknown>> {
  const { user, actor } = event
  return {
    at: event.at,
    type: event.type,
    result: event.result,
    tenant: user?.tenant,
    user_id: user?.id,
    actor_tenant: actor?.tenant,
    actor_id: actor?.id,
    session_id: event.sessionId,
    ip: event.ip,
    user_agent: event.userAgent,
    cause: event.cause,
    detail: event.detail,
  }
}

/** The event of a change as JSON. */
export function auditText(event: AuditEvent | undefined): string | null {
  return event === undefined ? null : JSON.stringify(auditRow(event))
}

/** The events of a session that is opened as JSON. */
export function openAuditText({ evicted, replaced, opened }: OpenAudit): string {
  return JSON.stringify({
    evicted: auditRow(evicted),
    replaced: auditRow(replaced),
    opened: opened.map(auditRow),
  })
}

/** The events of a rotation as JSON. */
export function rotateAuditText(audit: RotateAudit): string {
  const { recovered, deviceChanged, boundOnly, reused } = audit
  return JSON.stringify({
    recovered: auditRow(recovered),
    deviceChanged: deviceChanged && auditRow(deviceChanged),
    boundOnly,
    reused: auditRow(reused),
  })
}

/** The type of such an event in SQL. */
export const AUDIT_ROW: string = `at bigint, ${AUDIT_COLUMNS.map(
  (column) => `${column} ${column === 'detail' ? 'json' : 'text'}`,
).join(', ')}`

/** An event that a statement takes as JSON, as `e`. */
export function eventOf(json: string): string {
  return `json_to_record(${json}::text::json) e(${AUDIT_ROW})`
}

/**
 * Writes events of a change into the trail.
 *
 * @param from - what follows `from`, with the event as `e`
 * @param known - what only the store knows, in the place of what the event says
 */
export function writeAuditSql(
  names: Names,
  from: string,
  known: Readonly<Partial<Record<AuditColumn, string>>> = {},
): string {
  const values = AUDIT_COLUMNS.map((column) => known[column] ?? `e.${column}`)
  return `insert into ${names.audit} (at, ${AUDIT_COLUMNS.join(', ')})
  select to_timestamp(e.at / 1000.0), ${values.join(', ')} from ${from}`
}
