import { randomBytes } from 'node:crypto'
import type { Core } from './core.ts'
import { endSession } from './end-session.ts'
import { AuthError } from './errors.ts'
import type { RequestFacts } from './events.ts'
import { hashBinding } from './session-id.ts'
import type { SessionRecord } from './session.ts'

/**
 * How long a browser keeps the device cookie, in seconds: 400 days, the longest that browsers keep
 * any (RFC 6265bis §5.5), and so never less than a session.
 */
export const DEVICE_COOKIE_MAX_AGE_S: number = 400 * 86_400

const DEVICE = /^[A-Za-z0-9_-]{43}$/

/** Draws the name of a device: 256 random bits, 43 characters base64url. It proves nobody's identity. */
export function drawDevice(): string {
  return randomBytes(32).toString('base64url')
}

/** Whether a cookie's value may be one of ours. */
export function isDevice(value: string): boolean {
  return DEVICE.test(value)
}

/**
 * The hash of the device that presents itself. Of several bindings the one that fits the login
 * counts, as with all our cookies: who plants a second cookie must not be able to end a session.
 *
 * @returns null when there is no binding
 */
export function presentedDevice(
  session: Pick<SessionRecord, 'sid' | 'bindingHash'>,
  bindings: readonly string[],
): string | null {
  const hashes = bindings.map((binding) => hashBinding(session.sid, binding))
  return hashes.find((one) => one === session.bindingHash) ?? hashes[0] ?? null
}

/**
 * Whether a session is used on another device than the one that logged in. A login without a binding
 * stays unbound, so that clients without cookies are never locked out; a bound one whose binding is
 * missing is on another device.
 */
export function isOtherDevice(
  session: Pick<SessionRecord, 'sid' | 'bindingHash'>,
  bindings: readonly string[],
): boolean {
  const { bindingHash } = session
  return bindingHash !== null && presentedDevice(session, bindings) !== bindingHash
}

/**
 * Refuses a session on another device, as far as the app wants that: `'step-up'` asks for the login
 * once more, `'revoke'` ends the session. Otherwise it just returns.
 *
 * @throws {AuthError} `step_up_required` (401, RFC 9470) or `session_revoked` (401)
 * @throws {StoreUnavailable} the end is not acknowledged, and the request is refused all the same
 */
export async function refuseOtherDevice(
  core: Core,
  session: SessionRecord,
  request: RequestFacts,
): Promise<void> {
  const { sid, user } = session
  const onChange = core.settings.device?.onChange
  if (onChange === 'revoke') {
    await endSession(core, { sid }, { cause: 'device_changed', request })
    throw new AuthError('session_revoked', 'the session was ended')
  }
  if (onChange === 'step-up') {
    core.events.security('session_device_changed', {
      user,
      sessionId: sid,
      request,
      result: 'failure',
      cause: 'step_up_required',
    })
    throw new AuthError('step_up_required', 'log in again on this device', {
      // RFC 9470 §3: no login of the past will do.
      challenge: { max_age: '0' },
    })
  }
}
