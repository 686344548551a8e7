import type { Core } from './core.ts'
import type { RequestFacts, SecurityEvent } from './events.ts'
import type { Attributes, SessionRecord } from './session.ts'
import type { UpdateInput } from './store.ts'

/** A change with what the trail is to say of it; nothing of a change of data, which is the app's. */
export type ReportedUpdate = UpdateInput & { readonly audit?: SecurityEvent }

/** The change of a session's attributes on top of what was read. */
export function attributesUpdate(
  { events }: Core,
  { sid, user, ver }: SessionRecord,
  attributes: Attributes,
  why: { readonly cause: 'app' | 'load_user'; readonly request?: RequestFacts },
): ReportedUpdate {
  const audit = events.prepare('session_updated', {
    user,
    sessionId: sid,
    request: why.request,
    result: 'success',
    cause: why.cause,
    detail: { ver: ver + 1 },
  })
  return { sid, ver, attributes, audit }
}

/** Applies a change that was made to this node itself, and tells of it. */
export function reportUpdate(core: Core, { audit }: ReportedUpdate, session: SessionRecord): void {
  if (audit === undefined) return
  core.follower.hear([{ sid: session.sid, ver: session.ver }])
  core.events.changed([audit])
}
