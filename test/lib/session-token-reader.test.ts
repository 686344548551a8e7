import { describe, expect, it } from '@jest/globals'
import type { KeyRing } from '../../lib/key-ring.ts'
import { createKeyRing } from '../../lib/key-ring.ts'
import { drawSeed, drawSessionId, hashSeed } from '../../lib/session-id.ts'
import { createSessionTokenReader } from '../../lib/session-token-reader.ts'
import { formatSessionToken, SESSION_TOKEN_LENGTH } from '../../lib/session-token.ts'

const ring = createKeyRing(['the-first-secret-of-thirty-two-b'])

function newToken(signedBy = ring) {
  const seed = drawSeed()
  const sid = drawSessionId({ tenant: '', id: 'alice' })
  return { sid, seedHash: hashSeed(seed), text: formatSessionToken(signedBy, { sid, seed }) }
}

/** A ring that counts the MACs it checks. */
function counting() {
  const checked: string[] = []
  const counted: KeyRing = {
    ...ring,
    verify(purpose, kid, text, mac) {
      checked.push(text)
      return ring.verify(purpose, kid, text, mac)
    },
  }
  return { counted, checked }
}

describe('the reader of session tokens', () => {
  it('gives the session id and the hash of the seed, the first time and every other', () => {
    const read = createSessionTokenReader(ring)
    const { sid, seedHash, text } = newToken()
    expect(text).toHaveLength(SESSION_TOKEN_LENGTH)
    for (let time = 0; time < 3; time++) expect(read(text)).toEqual({ sid, seedHash })
  })

  it('checks the MAC of a token once', () => {
    const { counted, checked } = counting()
    const read = createSessionTokenReader(counted)
    const { text } = newToken()
    for (let time = 0; time < 3; time++) read(text)
    expect(checked).toHaveLength(1)
  })

  it('refuses every change of one character in a token it remembers', () => {
    const read = createSessionTokenReader(ring)
    const { text } = newToken()
    expect(read(text)).not.toBeNull()
    for (let at = 0; at < text.length; at++) {
      for (const other of ['A', 'B', '.', 'é', '\ud800']) {
        if (text[at] === other) continue
        expect(read(text.slice(0, at) + other + text.slice(at + 1))).toBeNull()
      }
    }
    expect(read(` ${text}`)).toBeNull()
    expect(read(text.slice(1))).toBeNull()
    expect(read('')).toBeNull()
  })

  it('checks what it refused again, and never lets it in', () => {
    const { counted, checked } = counting()
    const read = createSessionTokenReader(counted)
    const { text } = newToken()
    const forged = text.slice(0, -22) + 'A'.repeat(22)
    for (let time = 0; time < 3; time++) expect(read(forged)).toBeNull()
    expect(checked).toHaveLength(3)
  })

  it('remembers nothing for the reader of another kit', () => {
    const other = createKeyRing(['another-secret-of-thirty-two-byt'])
    const { text } = newToken()
    expect(createSessionTokenReader(ring)(text)).not.toBeNull()
    expect(createSessionTokenReader(other)(text)).toBeNull()
  })

  it('remembers so many and no more, and what is in use the longest', () => {
    const { counted, checked } = counting()
    const read = createSessionTokenReader(counted, 8)
    const { text: used } = newToken()
    read(used)
    const others = Array.from({ length: 100 }, () => newToken().text)
    for (const other of others) {
      read(other)
      read(used)
    }
    expect(checked.filter((one) => used.startsWith(one))).toHaveLength(1)
    checked.length = 0
    // Of all others at most eight are still known.
    for (const other of others) read(other)
    expect(checked.length).toBeGreaterThanOrEqual(92)
  })

  it('keeps neither the token nor its seed', () => {
    const read = createSessionTokenReader(ring)
    const { sid, text } = newToken()
    const token = read(text)
    expect(Object.keys(token ?? {})).toEqual(['sid', 'seedHash'])
    expect(Object.values(token ?? {}).join()).not.toContain(text.slice(36, 79))
    expect(token?.sid).toBe(sid)
    expect(Object.isFrozen(token)).toBe(true)
  })
})
