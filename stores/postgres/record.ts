import type { Attributes, JsonObject, SessionRecord } from '../../lib/session.ts'

/** The columns of a session in the order of the table. */
export const COLUMNS = [
  'sid',
  'rotated_at',
  'created_at',
  'auth_time',
  'last_seen_at',
  'idle_deadline',
  'absolute_deadline',
  'generation',
  'ver',
  'data_ver',
  'confirmed',
  'remember',
  'tenant',
  'user_id',
  'seed_hash',
  'attempt_hash',
  'binding_hash',
  'rotated_by',
  'device_label',
  'device_ip',
  'attributes',
  'data',
] as const

/** A row as `pg` gives it: an array of texts and nulls. */
export type Row = readonly (string | null)[]

/** The columns of a table's alias, or of a composite value in parentheses. */
export function columnsOf(source: string): string {
  return COLUMNS.map((column) => `${source}.${column}`).join(', ')
}

/**
 * Reads a session.
 *
 * @param row - {@link COLUMNS}, from the place `at` on
 */
export function decodeSession(row: Row, at: number): SessionRecord {
  return {
    sid: text(row[at]),
    rotatedAt: Number(row[at + 1]),
    createdAt: Number(row[at + 2]),
    authTime: Number(row[at + 3]),
    lastSeenAt: Number(row[at + 4]),
    idleDeadline: Number(row[at + 5]),
    absoluteDeadline: Number(row[at + 6]),
    generation: Number(row[at + 7]),
    ver: Number(row[at + 8]),
    dataVer: Number(row[at + 9]),
    confirmed: row[at + 10] === 't',
    remember: row[at + 11] === 't',
    user: { tenant: text(row[at + 12]), id: text(row[at + 13]) },
    seedHash: text(row[at + 14]),
    attemptHash: row[at + 15] ?? null,
    bindingHash: row[at + 16] ?? null,
    rotatedBy: row[at + 17] ?? null,
    device: { label: row[at + 18] ?? null, ip: row[at + 19] ?? null },
    attributes: parseAttributes(text(row[at + 20])),
    data: parseData(row[at + 21] ?? null),
  }
}

/** A column that is never null. */
export function text(value: string | null | undefined): string {
  if (typeof value !== 'string') throw new Error('a column is missing')
  return value
}

function parseAttributes(json: string): Attributes {
  return JSON.parse(json)
}

function parseData(json: string | null): JsonObject | null {
  return json === null ? null : JSON.parse(json)
}
