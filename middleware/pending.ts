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

/** What follows from a value: at once when it is there already, for a promise costs turns of its own. */
export function whenKnown<Value extends object, Result>(
  value: MaybePromise<Value>,
  follow: (known: Value) => MaybePromise<Result>,
): MaybePromise<Result> {
  return isPending(value) ? value.then(follow) : follow(value)
}
