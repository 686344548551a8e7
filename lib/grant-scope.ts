import { AuthError } from './errors.ts'

/**
 * The scope of a new token: what is asked for, never more than every limit allows. Pure.
 *
 * @param asked - null asks for all there is
 * @param limits - what came in, and what may go out; null limits nothing
 * @throws {AuthError} `invalid_scope` when more is asked for than may be granted: who asks should not
 *   find out later
 */
export function grantScope(
  asked: readonly string[] | null,
  limits: readonly [readonly string[], ...(readonly string[] | null)[]],
): readonly string[] {
  const [first, ...others] = limits
  const grantable = first.filter((word) => others.every((limit) => limit?.includes(word) ?? true))
  if (asked === null) return grantable
  if (!asked.every((word) => grantable.includes(word))) {
    throw new AuthError('invalid_scope', 'the scope is more than may be granted')
  }
  return asked
}
