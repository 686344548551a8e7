import type { Request } from 'express'
import { readCookie } from '../lib/cookies.ts'
import { drawDevice, isDevice, isOtherDevice, refuseOtherDevice } from '../lib/device.ts'
import type { Delivery } from '../lib/options.ts'
import type { SessionRecord } from '../lib/session.ts'
import type { Context } from './context.ts'
import { hookFailure, requestFacts } from './context.ts'

const MAX_DUPLICATES = 4

/**
 * What tells the client's device from another: the device cookie, or what the app's `deviceBinding`
 * says. More than one only when cookies of one name were sent; none when nothing tells.
 *
 * @throws {InternalError} when the app's function throws or returns something else than text
 */
export function readBindings<Claims extends object>(
  context: Context<Claims>,
  req: Request,
): readonly string[] {
  const { cookie = null } = context.core.settings.device ?? {}
  if (cookie !== null) {
    const values = readCookie(req.headers.cookie, cookie.name).filter(isDevice)
    return [...new Set(values)].slice(0, MAX_DUPLICATES)
  }
  const { deviceBinding } = context.options
  const read = typeof deviceBinding === 'function' ? deviceBinding : deviceBinding?.read
  if (read === undefined) return []
  let binding: unknown
  try {
    binding = read(req)
  } catch (error) {
    throw hookFailure(context, 'deviceBinding', error)
  }
  if (binding === undefined || binding === '') return []
  if (typeof binding !== 'string') {
    throw hookFailure(context, 'deviceBinding', new TypeError('must return text or undefined'))
  }
  return [binding]
}

/**
 * What a login is bound to. With the device cookie a browser without one gets one; a login that is
 * delivered in the body stays unbound, for such clients need not keep cookies.
 */
export function bindLogin<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  delivery: Delivery,
): string | undefined {
  const { cookie = null } = context.core.settings.device ?? {}
  if (cookie === null) return readBindings(context, req)[0]
  if (delivery === 'body') return undefined
  const device = readBindings(context, req)[0] ?? drawDevice()
  // Set again when it is there already: it must outlive the session that begins now.
  context.memo(req).device = device
  return device
}

/**
 * Does what the app wants done about a session that was opened on another device.
 *
 * @param isWayOut - whether this is where one logs in again, which must not ask for that first
 * @throws {AuthError} `step_up_required` or `session_revoked`
 * @throws {StoreUnavailable}
 */
export async function judgeDevice<Claims extends object>(
  context: Context<Claims>,
  req: Request,
  session: SessionRecord,
  isWayOut: boolean,
): Promise<void> {
  const { core } = context
  const { onChange = 'off' } = core.settings.device ?? {}
  if (onChange === 'off' || session.bindingHash === null) return
  if (!isOtherDevice(session, readBindings(context, req))) return
  if (onChange === 'observe') {
    // What is let through would be reported at every request of the same browser.
    if (!context.isDeviceNews(session.sid)) return
    core.events.security('session_device_changed', {
      user: session.user,
      sessionId: session.sid,
      request: requestFacts(req),
      result: 'success',
      cause: 'observed',
    })
    return
  }
  if (onChange === 'step-up' && isWayOut) return
  await refuseOtherDevice(core, session, requestFacts(req))
}
