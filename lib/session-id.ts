import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { UserRef } from './user.ts'
import { userShard } from './user.ts'

const SESSION_ID = /^[A-Za-z0-9_-]{24}$/
const RANDOM_CHARACTERS = 22

/**
 * Draws a session id: the user's shard and 132 random bits (OWASP ASVS 5.0 7.2.3), 24 characters
 * base64url. It is a public name, not a secret.
 */
export function drawSessionId(user: UserRef): string {
  return userShard(user) + randomBytes(17).toString('base64url').slice(0, RANDOM_CHARACTERS)
}

/** Whether a text has the form of a session id. */
export function isSessionId(value: unknown): value is string {
  return typeof value === 'string' && SESSION_ID.test(value)
}

const FEED_NAME = /^[A-Za-z0-9_-]{1,64}$/

/** Whether the feed can name it: what latchkey draws itself always, what others draw perhaps not. */
export function isFeedName(name: string): boolean {
  return FEED_NAME.test(name)
}

/** Draws a session's seed: 256 random bits, 43 characters base64url. It leaves only in tokens. */
export function drawSeed(): string {
  return randomBytes(32).toString('base64url')
}

/** What a store keeps of a seed. */
export function hashSeed(seed: string): string {
  return hash('sha256', seed, 'base64url')
}

/** Whether two hashes of seeds are the same, in a time that does not tell where they differ. */
export function isSameSeedHash(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/**
 * What a store keeps of a device's binding: salted with the session id, so that two sessions of one
 * device cannot be matched in a stolen table. Null when the device sent none.
 */
export function hashBinding(sid: string, binding: string | undefined): string | null {
  return binding === undefined ? null : hash('sha256', `${sid}.${binding}`, 'base64url')
}

/** What a store keeps of a refresh attempt's id. */
export function hashAttempt(attempt: string): string {
  return hash('sha256', attempt, 'base64url')
}

/** Draws an attempt id for a client that sent none. */
export function drawAttempt(): string {
  return randomBytes(16).toString('base64url')
}
