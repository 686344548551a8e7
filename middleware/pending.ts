import type { MaybePromise } from '../lib/options.ts'

/**
 * Whether something is still to be waited for. Not by `instanceof`: zone.js and others put a Promise of
 * their own in the place of the global one, and what async functions return is none of those.
 */
export function isPending<Value extends object>(
  value: MaybePromise<Value>,
): value is Promise<Value> {
  return 'then' in value
}
