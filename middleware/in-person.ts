import type { Auth } from '../lib/auth.ts'

/**
 * Whether it is the user, and no service that acts for them (RFC 8693 §4.1). What a service may do is in
 * its scope, and none says that it may see or end sessions, or hand its part on as its own.
 */
export function isInPerson({ actor }: Pick<Auth, 'actor'>): boolean {
  return actor === undefined
}
