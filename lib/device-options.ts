import type { CookieSpec } from './cookies.ts'
import { checkCookieSpec } from './cookies.ts'
import { ConfigError } from './errors.ts'
import { rejectUnknownOptions } from './unknown-options.ts'

/**
 * What happens when a session is used on another device than the one that logged in:
 * - `off`: nothing
 * - `observe`: it is audited
 * - `step-up`: 401 `step_up_required`, until the user has logged in on this device
 * - `revoke`: the session ends, 401 `session_revoked`
 */
export type OnDeviceChange = 'off' | 'observe' | 'step-up' | 'revoke'

/** Option `deviceBinding` as an object. */
export interface DeviceBindingOptions<Req> {
  /**
   * What tells one device from another, never the ip; undefined when nothing does.
   *
   * @defaultValue a random HttpOnly cookie that a login by cookie sets, kept for 400 days
   */
  readonly read?: ((req: Req) => string | undefined) | undefined
  /** What a change does, seen at a refresh or by a guard that has the session at hand. */
  readonly onChange: OnDeviceChange
}

/** The object form, checked and complete. */
export interface DeviceSettings {
  readonly onChange: OnDeviceChange
  /** The cookie that tells devices apart; null when the app reads something of its own. */
  readonly cookie: CookieSpec | null
}

const ON_CHANGE: readonly OnDeviceChange[] = ['off', 'observe', 'step-up', 'revoke']

/**
 * Checks option `deviceBinding`.
 *
 * @param option - what the app wrote
 * @param session - the session cookie: the device cookie reaches as far as it does
 * @param name - the app's name for the device cookie
 * @returns undefined without the option, and for a function, which tells devices apart for grace and
 *   `bindDevice` only
 * @throws {ConfigError} `invalid_option`
 */
export function parseDeviceBinding(
  option: unknown,
  session: CookieSpec,
  name: string | undefined,
): DeviceSettings | undefined {
  if (option === undefined || typeof option === 'function') return undefined
  if (typeof option !== 'object' || option === null || !('onChange' in option)) {
    throw new ConfigError(
      'deviceBinding',
      "must be a function, or an object such as { onChange: 'observe' }",
    )
  }
  rejectUnknownOptions('deviceBinding', option, ['read', 'onChange'])
  const { read, onChange }: { read?: unknown; onChange: unknown } = option
  if (read !== undefined && typeof read !== 'function') {
    throw new ConfigError('deviceBinding.read', 'must be a function')
  }
  const found = ON_CHANGE.find((one) => one === onChange)
  if (found === undefined) {
    throw new ConfigError(
      'deviceBinding.onChange',
      `must be one of ${ON_CHANGE.map((text) => `'${text}'`).join(', ')}`,
    )
  }
  return { onChange: found, cookie: read === undefined ? deviceCookie(session, name) : null }
}

function deviceCookie({ secure, domain }: CookieSpec, name: string | undefined): CookieSpec {
  const prefix = secure ? '__Host-' : ''
  // Lax as the session cookie may be: it must come along wherever one of a session does.
  const spec = {
    name: name ?? `${prefix}latchkey-device`,
    secure,
    sameSite: 'Lax',
    domain,
  } as const
  checkCookieSpec('cookies.names.device', spec)
  return spec
}
