import { MAX_RECOVERED_GENERATIONS } from '../../lib/rotation.ts'
import type { Names } from './names.ts'
import { COLUMNS, columnsOf } from './record.ts'
import { clock, isOver } from './sql.ts'

/** The parameters of a rotation: `$1` and so on in a statement, names in a function. */
export interface RotateParameters {
  readonly now: string
  readonly sid: string
  readonly seedHash: string
  readonly generation: string
  readonly attemptHash: string
  readonly bindingHash: string
  readonly reuseGraceMs: string
  readonly lostResponseWindowMs: string
  readonly idleTimeoutMs: string
}

/**
 * The CTEs of a rotation: `decided` is the row as it was, the time, and the outcome of
 * `decideRotation`; the row is written, or removed and told of, accordingly.
 *
 * The row is locked first and the time taken after: who waited decides on the latest row at the
 * latest time. The outcome comes from `decided` alone; whoever selected the row again after a
 * conditional update would read it as it was before the wait, and cry theft at every race.
 *
 * @param patience - a condition that is always true, looked at before the row is locked
 */
export function rotateSql(names: Names, of: RotateParameters, patience: string): string {
  const distance = `generation - ${of.generation}`
  const age = 'greatest(0, now - rotated_at)'
  return `with locked as materialized (
  select ${columnsOf('s')} from ${names.session} s
  where s.sid = ${of.sid} and ${patience} for update of s
), decided as materialized (
  select timed.*, case
    when ${isOver('now')} then 'gone'
    when seed_hash <> ${of.seedHash} then 'seed'
    when ${distance} = 0 then 'rotated'
    when ${distance} < -${MAX_RECOVERED_GENERATIONS} then 'ahead'
    when ${distance} < 0 then 'recovered'
    when ${distance} > 1 then 'reused'
    when attempt_hash = ${of.attemptHash} then 'attempt'
    when rotated_by is distinct from ${of.bindingHash} then 'reused'
    when ${age} < ${of.reuseGraceMs} then 'grace'
    when not confirmed and ${age} < ${of.lostResponseWindowMs} then 'lost_response'
    else 'reused' end as outcome
  from (select locked.*, ${clock(of.now)} as now from locked) timed
), written as (
  update ${names.session} s set generation = ${of.generation} + 1, rotated_at = d.now,
    rotated_by = ${of.bindingHash}, attempt_hash = ${of.attemptHash}, confirmed = false,
    last_seen_at = d.now, idle_deadline = least(d.absolute_deadline, d.now + ${of.idleTimeoutMs})
  from decided d where s.sid = d.sid and d.outcome in ('rotated', 'recovered')
), ended as (
  delete from ${names.session} s using decided d where s.sid = d.sid and d.outcome = 'reused'
), told as (
  insert into ${names.feed} (at, sid) select now, sid from decided where outcome = 'reused'
)`
}

/** A row of `decided` as a composite value. */
export function decidedRow(names: Names): string {
  return `row(${COLUMNS.map((column) => `decided.${column}`).join(', ')})::${names.session}`
}
