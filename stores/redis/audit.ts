import type { AuditEvent, AuditQuery, Page } from '../../lib/store.ts'
import type { Keys } from './keys.ts'
import { list, text, texts } from './reply.ts'
import type { Runner } from './run.ts'

const CURSOR = /^\d{1,15}-\d{1,20}$/

/** The audit trail: one capped stream, with what is asked for as fields of their own. */
export class RedisAudit {
  readonly #runner: Runner
  readonly #keys: Keys
  readonly #maxEvents: number

  constructor(runner: Runner, keys: Keys, maxEvents: number) {
    this.#runner = runner
    this.#keys = keys
    this.#maxEvents = maxEvents
  }

  async append(events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return
    const fields = events.flatMap((event) => [
      event.user === undefined ? '' : this.#keys.nameOf(event.user),
      event.sessionId ?? '',
      event.type,
      event.at,
      JSON.stringify(event),
    ])
    await this.#runner.onKey('auditAppend', this.#keys.audit, [this.#maxEvents, ...fields])
  }

  async query(query: AuditQuery): Promise<Page<AuditEvent>> {
    const { cursor } = query
    if (cursor !== undefined && !CURSOR.test(cursor)) return { items: [], next: null }
    const [found, next] = await this.#runner.onKey('auditQuery', this.#keys.audit, [
      cursor === undefined ? '+' : `(${cursor}`,
      query.user === undefined ? '' : this.#keys.nameOf(query.user),
      query.sessionId ?? '',
      query.type ?? '',
      query.from ?? '',
      query.to ?? '',
      query.limit,
    ])
    const last = text(next)
    return {
      items: texts(list(found)).map((json): AuditEvent => JSON.parse(json)),
      next: last === '' ? null : last,
    }
  }
}
