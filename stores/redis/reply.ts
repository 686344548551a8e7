/** What a script answered, and on a Cluster what waits to go into the feed. */
export interface Reply {
  readonly parts: readonly unknown[]
  readonly pending: readonly string[]
}

const NOTHING: readonly string[] = []

/** Reads the envelope of every script. */
export function readReply(reply: unknown): Reply {
  const [parts, pending] = list(reply)
  return { parts: list(parts), pending: pending === undefined ? NOTHING : texts(pending) }
}

/** A list in a reply. */
export function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw unexpected(value)
  return value
}

/** Texts in a reply. */
export function texts(value: unknown): string[] {
  return list(value).map(text)
}

/** A text in a reply. */
export function text(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString()
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  throw unexpected(value)
}

/** A number in a reply; Lua cuts what is not text to whole numbers. */
export function number(value: unknown): number {
  return typeof value === 'number' ? value : Number(text(value))
}

/** What TIME answers, in epoch milliseconds. */
export function timeOf(value: unknown): number {
  const [seconds, micros] = list(value)
  return number(seconds) * 1000 + Math.floor(number(micros) / 1000)
}

/** Bytes in a reply. */
export function bytes(value: unknown): Buffer {
  if (!Buffer.isBuffer(value)) throw unexpected(value)
  return value
}

function unexpected(value: unknown): Error {
  return new Error(`Redis answered with ${typeof value} where something else was expected`)
}
