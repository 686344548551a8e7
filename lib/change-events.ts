import type { SessionRecord } from './session.ts'
import type { AuditEvent, OpenAudit, RotateAudit, RotateResult } from './store.ts'

/**
 * What the trail says of a session that was opened: what ended for it, in the order of `revoked`, then
 * the session itself.
 *
 * @param replacedSid - the session it was to replace, undefined for none
 */
export function openEvents<Event extends AuditEvent>(
  audit: OpenAudit<Event>,
  revoked: readonly string[],
  replacedSid: string | undefined,
): Event[] {
  const ended = revoked.map((sessionId) => ({
    ...(sessionId === replacedSid ? audit.replaced : audit.evicted),
    sessionId,
  }))
  return [...ended, ...audit.opened]
}

/** What the trail says of a refresh; nothing where it neither changed what is unusual nor was theft. */
export function rotationEvents<Event extends AuditEvent>(
  audit: RotateAudit<Event>,
  result: RotateResult,
): Event[] {
  if (result.outcome === 'reused') {
    const { session, distance, ageMs, revoked } = result
    const detail = { distance, age_ms: ageMs, revoked: revoked.length }
    return [{ ...audit.reused, user: session.user, detail }]
  }
  if (result.outcome !== 'rotated' && result.outcome !== 'recovered') return []
  const { session, outcome, deviceChanged } = result
  const isReported = deviceChanged && (session.bindingHash !== null || !audit.boundOnly)
  const events = [
    outcome === 'recovered' ? audit.recovered : null,
    isReported ? audit.deviceChanged : null,
  ]
  return events.flatMap((event) => (event === null ? [] : [{ ...event, user: session.user }]))
}

/** What the trail says of a session that was ended. */
export function revokedEvent<Event extends AuditEvent>(
  event: Event,
  { user }: Pick<SessionRecord, 'user'>,
): Event {
  return { ...event, user }
}

/** What the trail says of a user whose sessions were ended. */
export function userRevokedEvent<Event extends AuditEvent>(
  event: Event,
  revoked: readonly string[],
): Event {
  return { ...event, detail: { revoked: revoked.length } }
}
