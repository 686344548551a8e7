/** Exactly the same type, not merely assignable both ways. */
export type Equals<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles only when its type argument is `true`. */
export function expectType<_Is extends true>(): void {}
