import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { createKeyRing } from '../../lib/key-ring.ts'
import { formatRefreshToken, readRefreshToken } from '../../lib/refresh-token.ts'
import { drawSeed, drawSessionId } from '../../lib/session-id.ts'
import { formatSessionToken, readSessionToken } from '../../lib/session-token.ts'

const ring = createKeyRing(['the-first-secret-of-thirty-two-b'])
const otherRing = createKeyRing(['another-secret-of-thirty-two-byt'])
const sid = 'Zm9vYmFyLWJhei1xdXV4_A-9'
const seed = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8'

const MAX_GENERATION = 2 ** 31 - 1
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.split('')
const STRANGERS = [...'.=+/ %~"\\;,é\n\0\t\u00a0\ud800'.split(''), '💥']

const KINDS = {
  'session token': {
    valid: formatSessionToken(ring, { sid, seed }),
    read: (text: string) => readSessionToken(ring, text),
  },
  'refresh token': {
    valid: formatRefreshToken(ring, { sid, generation: 2_147_483_647, seed }),
    read: (text: string) => readRefreshToken(ring, text),
  },
} as const
const KIND_NAMES = ['session token', 'refresh token'] as const

const base64url = (length: number) =>
  fc.string({
    unit: fc.constantFrom(...BASE64URL),
    minLength: length,
    maxLength: length,
  })
const sids = base64url(24)
const seeds = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('base64url'))
const utf16 = fc.array(fc.nat(0xffff)).map((units) => String.fromCharCode(...units))
const generations = fc.integer({ min: 0, max: MAX_GENERATION })

/** A refresh token of any text between the dots, with the right MAC for it. */
function signedRefresh(middle: string, prefix = 'lkr_', kid = ring.activeKid): string {
  const text = `${prefix}${kid}.${middle}`
  return `${text}.${ring.sign('refresh-token', text)}`
}

function signedSession(middle: string, prefix = 'lks_', kid = ring.activeKid): string {
  const text = `${prefix}${kid}.${middle}`
  return `${text}.${ring.sign('session-token', text)}`
}

describe('a session token', () => {
  it('is its parts with dots between, and comes back as it was', () => {
    expect(KINDS['session token'].valid).toBe(signedSession(`${sid}.${seed}`))
    fc.assert(
      fc.property(sids, seeds, (someSid, someSeed) => {
        const token = formatSessionToken(ring, { sid: someSid, seed: someSeed })
        expect(token).toMatch(/^lks_[\w-]{6}\.[\w-]{24}\.[\w-]{43}\.[\w-]{22}$/)
        expect(readSessionToken(ring, token)).toEqual({ sid: someSid, seed: someSeed })
        expect(readSessionToken(otherRing, token)).toBeNull()
      }),
    )
  })
})

describe('a refresh token', () => {
  it('is its parts with dots between, and comes back as it was', () => {
    fc.assert(
      fc.property(sids, seeds, generations, (someSid, someSeed, generation) => {
        const parts = { sid: someSid, generation, seed: someSeed }
        const token = formatRefreshToken(ring, parts)
        expect(token).toBe(signedRefresh(`${someSid}.${generation}.${someSeed}`))
        expect(readRefreshToken(ring, token)).toEqual(parts)
        expect(readRefreshToken(otherRing, token)).toBeNull()
      }),
    )
  })

  it('has a successor that is derived: whoever asks twice gets the same', () => {
    const successors = Array.from({ length: 10 }, () =>
      formatRefreshToken(ring, { sid, generation: 8, seed }),
    )
    expect(new Set(successors).size).toBe(1)
    const rotated = createKeyRing([
      'a-newer-secret-of-thirty-two-byt',
      'the-first-secret-of-thirty-two-b',
    ])
    expect(readRefreshToken(rotated, successors[0] ?? '')).toEqual({ sid, generation: 8, seed })
  })

  it('differs in every generation, and its MAC does too', () => {
    const tokens = Array.from({ length: 200 }, (_, generation) =>
      formatRefreshToken(ring, { sid, generation, seed }),
    )
    expect(new Set(tokens.map((token) => token.slice(-22))).size).toBe(200)
  })

  it.each(['0', '1', '10', '2147483647'])('reads the generation %s', (digits) => {
    expect(readRefreshToken(ring, signedRefresh(`${sid}.${digits}.${seed}`))).toEqual({
      sid,
      generation: Number(digits),
      seed,
    })
  })

  it.each([
    '',
    '-0',
    '-1',
    '+1',
    '00',
    '01',
    '1.0',
    '1e3',
    '0x1',
    ' 1',
    '1 ',
    '1\n',
    '1_0',
    '٣',
    '１',
    '2147483648',
    '4294967296',
    '9999999999',
    '99999999999999999999',
    'NaN',
    'Infinity',
  ])('is null with the generation spelled %j, even with its MAC right', (digits) => {
    expect(readRefreshToken(ring, signedRefresh(`${sid}.${digits}.${seed}`))).toBeNull()
  })
})

describe.each(KIND_NAMES)('any change to a %s', (kind) => {
  const { valid, read } = KINDS[kind]

  it('starts from a token that is good', () => {
    expect(read(valid)).toMatchObject({ sid, seed })
  })

  it('is null for every other character at every place', () => {
    for (let at = 0; at < valid.length; at++) {
      for (const letter of [...BASE64URL, ...STRANGERS]) {
        if (letter === valid.charAt(at)) continue
        const changed = valid.slice(0, at) + letter + valid.slice(at + 1)
        if (read(changed) !== null) throw new Error(`accepted ${JSON.stringify(changed)}`)
      }
    }
    expect(read(valid)).not.toBeNull()
  })

  it('is null for every character put in at every place', () => {
    for (let at = 0; at <= valid.length; at++) {
      for (const letter of [...BASE64URL, ...STRANGERS]) {
        const changed = valid.slice(0, at) + letter + valid.slice(at)
        if (read(changed) !== null) throw new Error(`accepted ${JSON.stringify(changed)}`)
      }
    }
    expect(read(valid)).not.toBeNull()
  })

  it('is null for every character taken out, every prefix and every suffix', () => {
    for (let at = 0; at < valid.length; at++) {
      expect(read(valid.slice(0, at) + valid.slice(at + 1))).toBeNull()
      expect(read(valid.slice(0, at))).toBeNull()
      expect(read(valid.slice(at + 1))).toBeNull()
    }
  })

  it('is null for two neighbours exchanged', () => {
    for (let at = 0; at + 1 < valid.length; at++) {
      const [a, b] = [valid.charAt(at), valid.charAt(at + 1)]
      if (a === b) continue
      expect(read(valid.slice(0, at) + b + a + valid.slice(at + 2))).toBeNull()
    }
  })

  it('is null for any cut replaced by any text', () => {
    const cut = fc.tuple(fc.nat(valid.length), fc.nat(12), fc.string({ maxLength: 12 }))
    fc.assert(
      fc.property(cut, ([at, length, text]) => {
        const changed = valid.slice(0, at) + text + valid.slice(at + length)
        fc.pre(changed !== valid)
        expect(read(changed)).toBeNull()
      }),
      { numRuns: 500 },
    )
  })

  it('never throws on any text, and takes none', () => {
    fc.assert(
      fc.property(utf16, (text) => {
        expect(read(text)).toBeNull()
      }),
    )
  })

  it.each([
    ['twice', valid + valid],
    ['with a line end', `${valid}\n`],
    ['with a line before it', `x\n${valid}`],
    ['with a line after it', `${valid}\nx`],
    ['in blanks', ` ${valid} `],
    ['in quotes', `"${valid}"`],
    ['with its MAC twice', `${valid}${valid.slice(-23)}`],
    ['with one more part', `${valid}.AAAA`],
    ['in upper case', valid.toUpperCase()],
    ['percent-encoded', valid.replaceAll('.', '%2E')],
    [
      'with the prefix of the other kind',
      valid.replace(/^lk[sr]/, (p) => (p === 'lks' ? 'lkr' : 'lks')),
    ],
  ])('is null for it %s', (_, text) => {
    expect(read(text)).toBeNull()
  })

  it.each([
    ['letters', 'A'],
    ['the prefix', valid.slice(0, 4)],
    ['dots', '.'],
    ['digits', '0'],
    ['itself', valid],
    ['itself with dots between', `${valid}.`],
  ])('is null for a megabyte of %s', (_, text) => {
    const long = text.repeat(Math.ceil(1_000_000 / text.length))
    expect(read(long)).toBeNull()
    expect(read(valid + long)).toBeNull()
    expect(read(long + valid)).toBeNull()
  })
})

describe('the form of a token, its MAC right', () => {
  const aliases = BASE64URL.filter((last) => {
    const alias = seed.slice(0, -1) + last
    return alias !== seed && Buffer.from(alias, 'base64url').equals(Buffer.from(seed, 'base64url'))
  })

  it('knows three other spellings of a seed', () => {
    expect(aliases).toHaveLength(3)
  })

  it.each(aliases)('is null with the seed in another spelling, ending in %s', (last) => {
    const alias = seed.slice(0, -1) + last
    expect(readSessionToken(ring, signedSession(`${sid}.${alias}`))).toBeNull()
    expect(readRefreshToken(ring, signedRefresh(`${sid}.0.${alias}`))).toBeNull()
  })

  it.each([
    ['a short session id', sid.slice(1), seed],
    ['a long session id', `${sid}A`, seed],
    ['a session id with a stranger', `${sid.slice(1)}+`, seed],
    ['a short seed', sid, seed.slice(1)],
    ['a long seed', sid, `${seed}A`],
    ['a padded seed', sid, `${seed}=`],
    ['an empty seed', sid, ''],
    ['an empty session id', '', seed],
  ])('is null with %s', (_, someSid, someSeed) => {
    expect(readSessionToken(ring, signedSession(`${someSid}.${someSeed}`))).toBeNull()
    expect(readRefreshToken(ring, signedRefresh(`${someSid}.0.${someSeed}`))).toBeNull()
  })

  it.each(['', 'LKS_', 'lks-', 'lkx_', 'xlks_', ' lks_', 'lks_lks_', 'lks', 'lkr_'])(
    'is null for a session token that starts with %j',
    (prefix) => {
      expect(readSessionToken(ring, signedSession(`${sid}.${seed}`, prefix))).toBeNull()
    },
  )

  it.each(['', 'LKR_', 'lkr-', 'lkx_', 'xlkr_', ' lkr_', 'lkr_lkr_', 'lkr', 'lks_'])(
    'is null for a refresh token that starts with %j',
    (prefix) => {
      expect(readRefreshToken(ring, signedRefresh(`${sid}.0.${seed}`, prefix))).toBeNull()
    },
  )

  it('is null under a kid that no secret has', () => {
    for (const kid of ['AAAAAA', otherRing.activeKid, '__prot', '      ']) {
      expect(readSessionToken(ring, signedSession(`${sid}.${seed}`, 'lks_', kid))).toBeNull()
      expect(readRefreshToken(ring, signedRefresh(`${sid}.0.${seed}`, 'lkr_', kid))).toBeNull()
    }
  })
})

describe('one kind of token', () => {
  it('is never read as the other', () => {
    expect(readRefreshToken(ring, KINDS['session token'].valid)).toBeNull()
    expect(readSessionToken(ring, KINDS['refresh token'].valid)).toBeNull()
  })

  it('is never read as the other with the prefix changed and a MAC of its own kind', () => {
    const session = `lks_${ring.activeKid}.${sid}.${seed}`
    const refresh = `lkr_${ring.activeKid}.${sid}.0.${seed}`
    expect(readSessionToken(ring, `${session}.${ring.sign('refresh-token', session)}`)).toBeNull()
    expect(readRefreshToken(ring, `${refresh}.${ring.sign('session-token', refresh)}`)).toBeNull()
    // A MAC over the text of the other kind is worth nothing either.
    expect(readSessionToken(ring, `${session}.${ring.sign('session-token', refresh)}`)).toBeNull()
    expect(readRefreshToken(ring, `${refresh}.${ring.sign('refresh-token', session)}`)).toBeNull()
  })

  it('of one session says nothing of another: parts of two good tokens do not mix', () => {
    const other = { sid: drawSessionId({ tenant: '', id: 'bob' }), seed: drawSeed() }
    const mine = KINDS['session token'].valid.split('.')
    const theirs = formatSessionToken(ring, other).split('.')
    for (let mask = 1; mask < 2 ** 3 - 1; mask++) {
      const mixed = [
        mine[0],
        ...[1, 2, 3].map((at) => (mask & (1 << (at - 1)) ? theirs : mine)[at]),
      ]
      expect(readSessionToken(ring, mixed.join('.'))).toBeNull()
    }
  })
})
