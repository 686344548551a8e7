/** A one-dimensional array of session ids as Postgres writes it: they need no quotes. */
export function textsOf(value: string | null | undefined): string[] {
  const inner = (value ?? '{}').slice(1, -1)
  return inner === '' ? [] : inner.split(',')
}
