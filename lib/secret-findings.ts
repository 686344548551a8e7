import type { Finding } from './findings.ts'
import { finding } from './findings.ts'
import { findWeakness } from './secret-strength.ts'
import type { SigningKeyInput } from './signing-keys.ts'

/** A decoded secret that is shorter says nothing when it stands in another. */
const MIN_BYTES = 16

/**
 * Finds secrets that could be guessed, and one value that does two things. Says which by their
 * place, never what they are.
 *
 * @param secrets - the app's `secrets`, which are long enough and differ as they are written
 * @param signingKeys - the app's `signingKeys`, as given
 */
export function findSecrets(
  secrets: readonly (string | Uint8Array)[],
  signingKeys: readonly SigningKeyInput[],
): Finding[] {
  const weak = secrets.flatMap((secret, index) => {
    const weakness = findWeakness(secret)
    return weakness === null ? [] : [`secrets[${index}] ${weakness}`]
  })
  const reused = findReused(secrets, signingKeys)
  return [
    ...(weak.length === 0
      ? []
      : [
          finding(
            'weak_secret',
            `${weak.join(', ')}: who guesses it makes MACs that verify; draw one with ` +
              `node -p "crypto.randomBytes(32).toString('base64url')"`,
          ),
        ]),
    ...(reused.length === 0
      ? []
      : [
          finding(
            'secret_reused',
            `${reused.join(', ')}: one that leaks takes the other along; draw each by itself`,
          ),
        ]),
  ]
}

function findReused(
  secrets: readonly (string | Uint8Array)[],
  signingKeys: readonly SigningKeyInput[],
): string[] {
  const named = [
    ...secrets.map((value, index) => ({ name: `secrets[${index}]`, value })),
    ...signingKeys.flatMap((key, index) => {
      const value = 'pem' in key ? key.pem : 'sign' in key ? undefined : key.d
      return typeof value === 'string' ? [{ name: `signingKeys[${index}]`, value }] : []
    }),
  ].map(({ name, value }) => ({ name, spellings: spellingsOf(value) }))
  return named.slice(0, secrets.length).flatMap((one, index) =>
    named
      .slice(index + 1)
      .filter((other) => isWithin(one.spellings, other.spellings))
      .map((other) => `${one.name} stands in ${other.name} or the other way round`),
  )
}

/** The bytes themselves, and what they are when they are text that stands for others. */
function spellingsOf(value: string | Uint8Array): readonly Buffer[] {
  const raw = typeof value === 'string' ? Buffer.from(value.trim(), 'utf8') : Buffer.from(value)
  const text = raw.toString('latin1')
  const isHex = text.length % 2 === 0 && /^[\da-f]+$/i.test(text)
  const isBase64 = /^[\w+/-]+={0,2}$/.test(text)
  return [
    raw,
    ...(isHex ? [Buffer.from(text, 'hex')] : []),
    ...(isBase64 ? [Buffer.from(text, 'base64')] : []),
  ].filter(({ length }) => length >= MIN_BYTES)
}

function isWithin(one: readonly Buffer[], other: readonly Buffer[]): boolean {
  return one.some((a) => other.some((b) => a.includes(b) || b.includes(a)))
}
