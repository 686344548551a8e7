/** Where a random secret never is, and a repeated or counted one always. A drawn one has more than 90. */
const MIN_BITS = 80
const GRAM = 4

/** Words of placeholders; long enough that chance does not write them. */
const PLACEHOLDER =
  /secret|change.?me|change.?this|replace.?me|replace.?this|passw(?:or)?d|passphrase|placeholder|example|insert.?your|keyboard.?cat|lorem.?ipsum|latchkey|development|not.?for.?production|qwerty/gi

/** How often a text goes from letter to digit or back, and its share of changes of case too, when drawn. */
const MIN_CHANGES = 3
const MIN_CHANGING = 0.33

/**
 * Why a secret could be guessed although it is long enough, null when nothing says so. A guess at
 * the hand that made it, not a measure: it never judges a secret that was drawn.
 *
 * @returns a phrase about the secret that holds no part of it
 */
export function findWeakness(secret: string | Uint8Array): string | null {
  const bytes = typeof secret === 'string' ? Buffer.from(secret, 'utf8') : secret
  if (new Set(bytes).size < 8) return 'has too few distinct bytes'
  if (strengthOf(bytes) < MIN_BITS) return 'repeats or counts'
  const text = Buffer.from(bytes).toString('latin1')
  if (text.search(PLACEHOLDER) !== -1 && !looksDrawn(text)) return 'is made of words'
  return null
}

/** Bits, roughly: what is new in it, times how little one byte, or its step to the next, tells of it. */
function strengthOf(bytes: Uint8Array): number {
  const steps = bytes.subarray(1).map((byte, index) => byte - (bytes[index] ?? 0))
  return newBytes(bytes) * Math.min(entropyOf(bytes), entropyOf(steps))
}

/** How many bytes are left when what stood there before does not count. */
function newBytes(bytes: Uint8Array): number {
  const text = Buffer.from(bytes).toString('latin1')
  const grams = Array.from({ length: text.length - GRAM + 1 }, (_, at) => text.slice(at, at + GRAM))
  return new Set(grams).size + GRAM - 1
}

/** Shannon's, in bits a byte. */
function entropyOf(bytes: Uint8Array): number {
  const counts = new Map<number, number>()
  for (const byte of bytes) counts.set(byte, (counts.get(byte) ?? 0) + 1)
  return [...counts.values()].reduce(
    (sum, count) => sum - (count / bytes.length) * Math.log2(count / bytes.length),
    0,
  )
}

/** Whether something drawn stands beside the words: `my-secret-` in front of it makes it no weaker. */
function looksDrawn(text: string): boolean {
  return text.split(PLACEHOLDER).some((rest) => {
    const changes = rest.match(/[a-z](?=\d)|\d(?=[a-z])/gi)?.length ?? 0
    const cases = rest.match(/[a-z](?=[A-Z])|[A-Z](?=[a-z])/g)?.length ?? 0
    const looks = changes >= MIN_CHANGES || (changes + cases) / rest.length >= MIN_CHANGING
    return looks && strengthOf(Buffer.from(rest, 'latin1')) >= MIN_BITS
  })
}
