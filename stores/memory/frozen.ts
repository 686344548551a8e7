import type {
  Attributes,
  JsonObject,
  JsonValue,
  NewSession,
  SessionRecord,
} from '../../lib/session.ts'
import type { AuditEvent } from '../../lib/store.ts'
import type { UserRef } from '../../lib/user.ts'

// What comes in is copied and frozen once, so that what goes out needs no copy: a check, the hot
// path, hands out the stored record itself. Own `__proto__` keys stay ordinary keys.

/** A frozen copy of a JSON object. @internal */
export function frozenJson(object: JsonObject): JsonObject {
  const entries = Object.entries(object)
  return Object.freeze(Object.fromEntries(entries.map(([key, value]) => [key, frozen(value)])))
}

function frozen(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null) return value
  return isList(value) ? Object.freeze(value.map(frozen)) : frozenJson(value)
}

function isList(value: object): value is readonly JsonValue[] {
  return Array.isArray(value)
}

/** A frozen copy of a user's name. @internal */
export function frozenUser({ tenant, id }: UserRef): UserRef {
  return Object.freeze({ tenant, id })
}

/** A frozen copy of attributes. @internal */
export function frozenAttributes(attributes: Attributes): Attributes {
  const { roles, scope, level, amr, claims } = attributes
  return Object.freeze({
    roles: Object.freeze([...roles]),
    scope: Object.freeze([...scope]),
    level,
    amr: Object.freeze([...amr]),
    claims: frozenJson(claims),
  })
}

/** A copy of what the kit decided of a session, frozen inside. @internal */
export function frozenSession(session: NewSession): NewSession {
  const { sid, user, seedHash, attributes, bindingHash, device, remember, data } = session
  return {
    sid,
    user: frozenUser(user),
    seedHash,
    attributes: frozenAttributes(attributes),
    bindingHash,
    device: Object.freeze({ label: device.label, ip: device.ip }),
    remember,
    data: data === null ? null : frozenJson(data),
  }
}

/** The record with some fields replaced; the old one stays as it was. @internal */
export function changed(record: SessionRecord, fields: Partial<SessionRecord>): SessionRecord {
  return Object.freeze({ ...record, ...fields })
}

/** A frozen copy of an audit event. @internal */
export function frozenEvent(event: AuditEvent): AuditEvent {
  return Object.freeze({
    ...event,
    ...(event.user && { user: frozenUser(event.user) }),
    ...(event.actor && { actor: frozenUser(event.actor) }),
    ...(event.detail && { detail: frozenJson(event.detail) }),
  })
}
