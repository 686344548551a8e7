import { types } from 'node:util'
import type { BlindCause } from './feed.ts'
import type { AuditEvent, Store } from './store.ts'

/**
 * Names of security events, in OWASP's logging vocabulary where it has one. They go to `onEvent` and
 * to the audit trail.
 */
export type SecurityEventType =
  | 'authn_login_success'
  | 'authn_login_fail'
  | 'authn_step_up_success'
  | 'authn_step_up_fail'
  | 'authn_token_reuse'
  | 'authn_token_recovered'
  | 'authn_token_created'
  | 'authn_token_revoked'
  | 'session_created'
  | 'session_revoked'
  | 'session_logout'
  | 'session_expired'
  | 'session_use_after_expire'
  | 'session_updated'
  | 'session_limit_evicted'
  | 'session_device_changed'
  | 'excess_sessions_exceeded'
  | 'excess_rate_limit_exceeded'
  | 'authz_fail'
  | 'authz_admin'
  | 'malicious_csrf'
  | 'malicious_cookie'
  | 'malicious_token'
  | 'signing_key_rotated'
  | 'signing_key_retired'

/** Names of events that only `onEvent` sees: too many or too technical for an audit trail. */
export type OperationalEventType =
  | 'session_renewed'
  | 'session_replayed'
  | 'feed_blind'
  | 'feed_sighted'
  | 'store_failure'
  | 'hook_failure'
  | 'audit_dropped'
  | 'warning'

/** What `onEvent` receives. Never holds a token, a secret, or a part of one. */
export interface LatchkeyEvent extends AuditEvent {
  readonly type: SecurityEventType | OperationalEventType
  /** What a hook or the store threw; for logs only. */
  readonly error?: unknown
}

/** An event that the trail keeps. */
export interface SecurityEvent extends AuditEvent {
  readonly type: SecurityEventType
}

/** Who is asking, for the audit trail. */
export interface RequestFacts {
  readonly ip?: string | undefined
  readonly userAgent?: string | undefined
}

/** What the kit reports to. */
export interface Events {
  /** A security event: to `onEvent` at once, to the audit trail in the next batch. */
  security(type: SecurityEventType, event: EventFields): void
  /** An event to be given to the store with the change it tells of, and then to {@link changed}. */
  prepare(type: SecurityEventType, event: EventFields): SecurityEvent
  /**
   * Events of a change that was made: to `onEvent` at once; to the audit trail in the next batch,
   * unless the store has written them with the change.
   */
  changed(events: readonly SecurityEvent[]): void
  /** An operational event: to `onEvent` only. */
  operational(type: OperationalEventType, event: EventFields & { readonly error?: unknown }): void
  /** The node lost or regained sight of the feed. */
  sight(cause: BlindCause | null): void
  /** A finding people should see: to `onEvent`, and once per code as a process warning. */
  warn(code: string, message: string): void
  /** The error of the latest operational event that had one. */
  readonly lastError: unknown
  /** Writes what is buffered. Resolves when it is written or dropped. */
  flush(): Promise<void>
  /** How many audit events were dropped because the store did not take them. */
  readonly dropped: number
}

/** An event without what the reporter adds. */
export type EventFields = Omit<AuditEvent, 'type' | 'at'> & {
  readonly request?: RequestFacts | undefined
}

const MAX_BUFFERED = 1000
const MAX_BATCH = 100
const FLUSH_AFTER_MS = 100
const MAX_TEXT = 256

/**
 * Makes the reporter.
 *
 * @param options - `onEvent`: the app's sink, whose failures are contained; `append`: the audit
 *   trail's writer; `writtenWithChange`: whether the store writes changes into the trail itself;
 *   `clock`: wall clock, epoch milliseconds
 */
export function createEvents(options: {
  readonly onEvent: ((event: LatchkeyEvent) => void) | undefined
  readonly append: Store['audit']['append']
  readonly writtenWithChange: boolean
  readonly clock: () => number
}): Events {
  let buffer: AuditEvent[] = []
  let dropped = 0
  let lastError: unknown
  let writing: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  const warned = new Set<string>()

  function emit(event: LatchkeyEvent): void {
    try {
      const returned: unknown = options.onEvent?.(event)
      // An async sink fails later, and nobody else would catch that.
      if (types.isPromise(returned)) returned.catch(warnOfSink)
    } catch (error) {
      warnOfSink(error)
    }
  }

  /** The app's sink must not decide whether somebody gets in. */
  function warnOfSink(error: unknown): void {
    const text = types.isNativeError(error) ? error.message : typeof error
    process.emitWarning(`onEvent threw: ${text}`, 'LatchkeyWarning', 'on_event_failed')
  }

  function build<Type extends LatchkeyEvent['type']>(
    type: Type,
    fields: EventFields,
  ): AuditEvent & { readonly type: Type } {
    const { request, ...rest } = fields
    return {
      ...rest,
      type,
      at: options.clock(),
      // The app's own word, and it may have come with a request.
      ...(rest.cause === undefined ? {} : { cause: capText(rest.cause) }),
      ...(request?.ip === undefined ? {} : { ip: capText(request.ip) }),
      ...(request?.userAgent === undefined ? {} : { userAgent: capText(request.userAgent) }),
    }
  }

  async function write(): Promise<void> {
    while (buffer.length > 0) {
      const batch = buffer.slice(0, MAX_BATCH)
      try {
        await options.append(batch)
        const written = new Set(batch)
        buffer = buffer.filter((event) => !written.has(event))
      } catch (error) {
        emit({ ...build('store_failure', { result: 'failure', cause: 'audit' }), error })
        return // kept; the next event tries again, and the oldest go when the buffer is full
      }
    }
  }

  async function flush(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    writing ??= write().finally(() => {
      writing = undefined
    })
    await writing
  }

  function keep(event: AuditEvent): void {
    buffer.push(event)
    if (buffer.length > MAX_BUFFERED) {
      buffer.shift()
      dropped++
      emit(build('audit_dropped', { result: 'failure', detail: { dropped } }))
    }
    timer ??= setTimeout(() => void flush(), FLUSH_AFTER_MS).unref()
  }

  return {
    security(type, fields) {
      const event = build(type, fields)
      emit(event)
      keep(event)
    },
    prepare: build,
    changed(events) {
      for (const event of events) {
        emit(event)
        if (!options.writtenWithChange) keep(event)
      }
    },
    operational(type, fields) {
      const { error, ...rest } = fields
      if (error !== undefined) lastError = error
      emit({ ...build(type, rest), ...(error === undefined ? {} : { error }) })
    },
    sight(cause) {
      const type = cause === null ? 'feed_sighted' : 'feed_blind'
      const result = cause === null ? 'success' : 'failure'
      emit(build(type, { result, ...(cause === null ? {} : { cause }) }))
    },
    warn(code, message) {
      emit(build('warning', { result: 'failure', cause: code, detail: { message } }))
      if (warned.has(code)) return
      warned.add(code)
      process.emitWarning(message, 'LatchkeyWarning', code)
    },
    get lastError() {
      return lastError
    },
    flush,
    get dropped() {
      return dropped
    },
  }
}

/** One line, bounded: what comes from a request never breaks a log (OWASP ASVS 5.0 16.4.1). */
export function capText(text: string): string {
  return text
    .slice(0, MAX_TEXT)
    .toWellFormed()
    .replaceAll(/[\p{Cc}\u2028\u2029]/gu, '\ufffd')
}
