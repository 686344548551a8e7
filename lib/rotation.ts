import { isSameSeedHash } from './session-id.ts'

/** How far ahead of the store a presented generation may be after a failover that lost writes. */
export const MAX_RECOVERED_GENERATIONS = 16

/** Generations are canonical decimals up to here. */
export const MAX_GENERATION: number = 2 ** 31 - 1

/** What the store knows of a session's refresh token. Instants are epoch milliseconds. */
export interface RotationState {
  /** SHA-256 of the session's seed, base64url. */
  readonly seedHash: string
  /** The current generation. */
  readonly generation: number
  /** When the current generation was made. */
  readonly rotatedAt: number
  /** Hash of the attempt id of the rotation that made the current generation, null at login. */
  readonly attemptHash: string | null
  /** Binding hash of the device that made the current generation, null when it sent none. */
  readonly rotatedBy: string | null
  /** Whether a store check has seen an access token of the current generation. */
  readonly confirmed: boolean
  readonly idleDeadline: number
  readonly absoluteDeadline: number
}

/** A refresh token whose MAC has been checked, with who presents it. */
export interface RotationRequest {
  readonly seedHash: string
  readonly generation: number
  readonly attemptHash: string
  /** Binding hash of the presenting device, null when it sends none. */
  readonly bindingHash: string | null
}

/** The app's settings for rotation, in milliseconds. */
export interface RotationPolicy {
  /** How long the predecessor of the current token still gets the same successor. 0 turns it off. */
  readonly reuseGraceMs: number
  /** The same for a successor nobody has been seen to use. 0 turns it off. */
  readonly lostResponseWindowMs: number
}

/** Why a token that had been used already was answered with its successor once more. */
export type ReplayCause = 'attempt' | 'grace' | 'lost_response'

/** What is to be done with a presented refresh token. */
export type RotationDecision =
  | { readonly outcome: 'gone' }
  | { readonly outcome: 'invalid'; readonly cause: 'seed' | 'ahead' }
  | {
      readonly outcome: 'rotated' | 'recovered'
      /** The new current generation. */
      readonly generation: number
      /** Another device than the one that made the last generation. Audited, never refused. */
      readonly deviceChanged: boolean
    }
  | { readonly outcome: 'replayed'; readonly cause: ReplayCause }
  | {
      readonly outcome: 'reused'
      /** How many generations the presented token is behind. */
      readonly distance: number
      /** Age of the current generation in milliseconds. */
      readonly ageMs: number
    }

/**
 * Decides what a presented refresh token does to its session. Pure: the table is here once, the
 * memory store calls it, the other stores implement it natively and are held to it by a model test.
 * First match wins.
 *
 * @param state - the stored session, or null when there is none
 * @param request - the presented token
 * @param policy - the app's windows
 * @param now - the store's clock, epoch milliseconds
 *
 * @remarks RFC 9700 §4.14.2 (rotation and reuse detection), OWASP ASVS 5.0 10.4.5.
 */
export function decideRotation(
  state: RotationState | null,
  request: RotationRequest,
  policy: RotationPolicy,
  now: number,
): RotationDecision {
  if (state === null || isOver(state, now)) return { outcome: 'gone' }
  if (!isSameSeedHash(request.seedHash, state.seedHash))
    return { outcome: 'invalid', cause: 'seed' }

  const distance = state.generation - request.generation
  const deviceChanged = request.bindingHash !== state.rotatedBy
  if (distance === 0) {
    return { outcome: 'rotated', generation: state.generation + 1, deviceChanged }
  }
  if (distance < 0) {
    return distance >= -MAX_RECOVERED_GENERATIONS
      ? { outcome: 'recovered', generation: request.generation + 1, deviceChanged }
      : { outcome: 'invalid', cause: 'ahead' }
  }

  // A clock that was set back must not bring a window to life that is turned off.
  const ageMs = Math.max(0, now - state.rotatedAt)
  if (distance === 1) {
    if (request.attemptHash === state.attemptHash) return { outcome: 'replayed', cause: 'attempt' }
    if (!deviceChanged) {
      if (ageMs < policy.reuseGraceMs) return { outcome: 'replayed', cause: 'grace' }
      if (!state.confirmed && ageMs < policy.lostResponseWindowMs) {
        return { outcome: 'replayed', cause: 'lost_response' }
      }
    }
  }
  return { outcome: 'reused', distance, ageMs }
}

/**
 * Whether a session has reached one of its deadlines. A deadline is the first instant at which the
 * session is over.
 */
export function isOver(
  session: Pick<RotationState, 'idleDeadline' | 'absoluteDeadline'>,
  now: number,
): boolean {
  return now >= session.idleDeadline || now >= session.absoluteDeadline
}
