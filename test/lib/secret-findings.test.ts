import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, it } from '@jest/globals'
import { findSecrets } from '../../lib/secret-findings.ts'
import { findWeakness } from '../../lib/secret-strength.ts'
import { generateSigningKey } from '../../lib/signing-keys.ts'

/** As good as drawn, and the same in every run. */
function digest(at: number): Buffer {
  return createHash('sha256').update(`drawn ${at}`).digest()
}

const DRAWN = [
  ['16 bytes as hex', (bytes: Buffer) => bytes.toString('hex').slice(0, 32)],
  ['32 bytes as hex', (bytes: Buffer) => bytes.toString('hex')],
  ['32 bytes as base64', (bytes: Buffer) => bytes.toString('base64')],
  ['32 bytes as base64url', (bytes: Buffer) => bytes.toString('base64url')],
  ['32 bytes', (bytes: Buffer) => new Uint8Array(bytes)],
  ['hex with a name in front', (bytes: Buffer) => `latchkey-secret-${bytes.toString('hex')}`],
] as const

describe('a secret that was drawn', () => {
  it.each(DRAWN)('is never weak: %s', (_name, write) => {
    const drawn = Array.from({ length: 2000 }, (_, at) => write(digest(at)))
    expect(drawn.filter((secret) => findWeakness(secret) !== null)).toEqual([])
  })

  it('is not found beside others', () => {
    const secrets = [randomBytes(32), randomBytes(32).toString('base64url'), randomBytes(48)]
    expect(findSecrets(secrets, [generateSigningKey(), generateSigningKey('EdDSA')])).toEqual([])
  })
})

describe('a secret that somebody made', () => {
  it.each([
    ['x'.repeat(32)],
    ['ab'.repeat(32)],
    ['0123456789abcdef'.repeat(2)],
    ['12345678901234567890123456789012'],
    ['abcdefghijklmnopqrstuvwxyz0123456789'],
    ['secretsecretsecretsecretsecretsecret'],
    ['a-test-secret-of-more-than-thirty-two-bytes'],
    ['my-super-secret-key-for-this-app-1234'],
    ['change-me-in-production-please-do-it!'],
    ['please replace this with a better one'],
    ['an-example-of-what-should-stand-here-1'],
    ['qwertyuiopasdfghjklzxcvbnm1234567890'],
    [new Uint8Array(32)],
    [Uint8Array.from({ length: 40 }, (_, at) => at)],
    [Uint8Array.from({ length: 40 }, (_, at) => at % 16)],
  ])('is weak: %p', (secret) => {
    const [found, ...others] = findSecrets([randomBytes(32), secret], [])
    expect(others).toEqual([])
    expect(found).toMatchObject({ code: 'weak_secret', severity: 'error' })
    expect(found?.message).toContain('secrets[1]')
    expect(found?.message).not.toContain('secrets[0]')
    if (typeof secret === 'string') expect(found?.message).not.toContain(secret.slice(0, 12))
  })
})

describe('one value that does two things', () => {
  const bytes = randomBytes(32)
  const text = bytes.toString('base64url')
  const key = generateSigningKey()
  const d = String(key.d)

  it.each([
    ['a secret in two spellings', [bytes, text], []],
    ['a secret in two other spellings', [bytes.toString('hex'), text], []],
    ['a secret with something appended', [text, `${text}-2`], []],
    ['a secret that is a private key', [randomBytes(32), d], [key]],
    ['a secret that is the bytes of a private key', [Buffer.from(d, 'base64url')], [key]],
  ])('is found: %s', (_name, secrets, keys) => {
    const found = findSecrets(secrets, keys)
    expect(found).toMatchObject([{ code: 'secret_reused', severity: 'error' }])
    for (const part of [text, d]) expect(found[0]?.message).not.toContain(part.slice(0, 12))
  })
})
