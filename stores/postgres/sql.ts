import { TOUCH_INTERVAL_MS } from '../../lib/session.ts'
import type { Names } from './names.ts'

/** A test's clock, or the server's; `parameter` is the one of the statement that carries the first. */
export function clock(parameter: string): string {
  return `coalesce(${parameter}, floor(date_part('epoch', clock_timestamp()) * 1000)::bigint)`
}

/** Whether a session is over, as `isOver` has it. */
export function isOver(now: string, session = ''): string {
  return `(${now} >= ${session}idle_deadline or ${now} >= ${session}absolute_deadline)`
}

/** Whether activity is to be written, as `touchIntervalMs` has it, in whole numbers. */
export function isTouchDue(now: string, lastSeenAt: string, idleTimeoutMs: string): string {
  return `2 * (${now} - ${lastSeenAt}) >= least(${2 * TOUCH_INTERVAL_MS}, ${idleTimeoutMs})`
}

/** A standby says what was: it decides nothing, not even where there is nothing to write. */
export function refuseStandby(): string {
  return `  if pg_is_in_recovery() then
    raise exception 'the server is a standby' using errcode = 'read_only_sql_transaction';
  end if;`
}

/**
 * In a function with `p_now`, `p_lock_timeout`, `v_tenant`, `v_user_id` and `v_now`: what touches several
 * sessions of a user takes the user's lock first, before it looks: a count taken by a single statement
 * would be older than the lock it waits for, and the limit would leak. Rows are locked in the order of
 * `sid`.
 */
export function takeUserLock(names: Names): string {
  return `
${refuseStandby()}
  if current_setting('transaction_isolation') = 'repeatable read' then
    -- There every look is as old as the transaction, and the lock protects nothing.
    raise exception 'latchkey does not work at REPEATABLE READ' using errcode = 'invalid_transaction_state';
  end if;
${setLockTimeout()}
  perform pg_advisory_xact_lock(hashtextextended(v_tenant || E'\\x1f' || v_user_id, ${names.userLock}));
  v_now := ${clock('p_now')};`
}

/** In a function with `p_lock_timeout`: who waits for a lock waits no longer than for an answer. */
export function setLockTimeout(): string {
  return `  if p_lock_timeout is not null then
    perform set_config('lock_timeout', p_lock_timeout, true);
  end if;`
}

/**
 * The same in a statement, as a condition that is always true: it is looked at before the row is locked,
 * and what it sets ends with the statement.
 */
export const PATIENCE = `set_config('lock_timeout', coalesce($2::text, current_setting('lock_timeout')), true) is not null`

/** A last column that notifies who follows the feed if a condition holds; or nothing. */
export type Told = (condition: string) => string

/**
 * In a transaction of the app's the statements notify themselves, at its commit; else the store does,
 * after the change.
 */
export function toldBy(names: Names, isInTransaction: boolean): Told {
  return (condition) =>
    isInTransaction
      ? `,\n  case when ${condition} then pg_notify('${names.channel.slice(1, -1)}', '')::text end`
      : ''
}
