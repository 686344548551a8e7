import { AuthError } from './errors.ts'

/** A session of this level is half logged in: a second factor is still missing. */
export const PARTIAL_LEVEL = 'partial'

/** What a guard asks of who passes. */
export interface Requirements {
  /** At least one of these; empty asks for none. */
  readonly roles: readonly string[]
  /** All of these. */
  readonly scope: readonly string[]
  /** One of these levels, by name; null asks for none, and then {@link PARTIAL_LEVEL} does not pass. */
  readonly levels: readonly string[] | null
  /** With `levels: null`, lets {@link PARTIAL_LEVEL} pass: for the way out of it. */
  readonly allowPartial?: boolean
  /** Longest time since the user proved who they are; null asks for none. */
  readonly maxAuthAgeMs: number | null
}

/** What the policy looks at. */
export interface Subject {
  readonly roles: readonly string[]
  readonly scope: readonly string[]
  readonly level: string | null
  /** Epoch milliseconds. */
  readonly authTime: number
}

/** Why a hybrid guard may have to ask the store. */
export interface CheckReasons {
  /** The operation is sensitive, or compares the device. */
  readonly sensitive: boolean
  readonly requirements: Requirements
  /** The node cannot know what was revoked. */
  readonly blind: boolean
  /** This request was drawn for a check. */
  readonly sampled: boolean
}

/**
 * Whether a checked access token is not enough and the session must be asked for, and whether the
 * request may pass when the store does not answer.
 *
 * - `required`: no answer, no pass
 * - `blind`: the store is asked because the feed cannot be trusted; `onStoreFailure` decides
 * - `wanted`: a failure of the store changes nothing for this request
 * - `none`: signature and feed are enough
 */
export function decideCheck(reasons: CheckReasons): 'required' | 'blind' | 'wanted' | 'none' {
  const { levels, maxAuthAgeMs } = reasons.requirements
  if (reasons.sensitive || levels !== null || maxAuthAgeMs !== null) return 'required'
  if (reasons.blind) return 'blind'
  return reasons.sampled ? 'wanted' : 'none'
}

/**
 * Whether who was authenticated may pass. Pure.
 *
 * @param subject - who it is
 * @param requirements - what the guard asks
 * @param now - epoch milliseconds
 * @returns null when they may, else why not: `step_up_required` (401, RFC 9470),
 *   `insufficient_scope` (403, RFC 6750 §3.1) or `forbidden` (403)
 */
export function decideAccess(
  subject: Subject,
  requirements: Requirements,
  now: number,
): AuthError | null {
  const { levels, maxAuthAgeMs, roles, scope } = requirements
  const levelFits =
    levels === null
      ? subject.level !== PARTIAL_LEVEL || requirements.allowPartial === true
      : subject.level !== null && levels.includes(subject.level)
  const freshEnough = maxAuthAgeMs === null || now - subject.authTime <= maxAuthAgeMs
  if (!levelFits || !freshEnough) {
    return new AuthError('step_up_required', 'log in again to do this', {
      challenge: {
        ...(levels === null ? {} : { acr_values: levels.join(' ') }),
        ...(maxAuthAgeMs === null ? {} : { max_age: String(Math.floor(maxAuthAgeMs / 1000)) }),
      },
    })
  }
  if (!scope.every((word) => subject.scope.includes(word))) {
    return new AuthError('insufficient_scope', 'the scope does not cover this', {
      challenge: { scope: scope.join(' ') },
    })
  }
  if (roles.length > 0 && !roles.some((role) => subject.roles.includes(role))) {
    return new AuthError('forbidden', 'this needs another role')
  }
  return null
}
