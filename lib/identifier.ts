const MAX_LENGTH = 255

/**
 * Whether a text may name something in latchkey: 1 to 255 characters, well-formed UTF-16, no
 * control characters. Ill-formed texts collide once a store encodes them; NUL ends them early.
 */
export function isIdentifier(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length > 0 &&
    value.length <= MAX_LENGTH &&
    value.isWellFormed() &&
    !hasControlCharacter(value)
  )
}

/** Whether a text has a C0 or C1 control character or DEL. */
export function hasControlCharacter(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const unit = value.charCodeAt(index)
    if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0)) return true
  }
  return false
}
