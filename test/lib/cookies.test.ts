import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { CookieSpec } from '../../lib/cookies.ts'
import {
  buildCookie,
  checkCookieSpec,
  clearCookie,
  readCookie,
  withoutCookies,
} from '../../lib/cookies.ts'

const NAME = '__Host-latchkey-session'

function spec(changes: Partial<CookieSpec> = {}): CookieSpec {
  return { name: NAME, secure: true, sameSite: 'Lax', domain: undefined, ...changes }
}

function refusal(changes: Partial<CookieSpec>): unknown {
  try {
    checkCookieSpec('cookies.names.session', spec(changes))
    return 'accepted'
  } catch (err) {
    return err
  }
}

describe('checkCookieSpec', () => {
  it.each<[string, Partial<CookieSpec>]>([
    ['__Host- with Secure and no Domain', {}],
    ['__Secure- with Secure', { name: '__Secure-a' }],
    ['__Secure- with Secure and a Domain', { name: '__Secure-a', domain: 'app.example' }],
    ['no prefix and no Secure', { name: 'latchkey-session', secure: false }],
    ['no prefix and a Domain', { name: 'a', domain: 'sub.app.example' }],
    ['a prefix without its dash', { name: '__Host', secure: false, domain: 'app.example' }],
    ['a prefix in the middle', { name: 'a__Host-b', secure: false }],
    ['a name of every character a token may have', { name: "!#$%&'*+-.^_`|~09AZaz" }],
    ['a name of 64 characters', { name: 'n'.repeat(64) }],
    ['a Domain in capitals', { name: 'a', domain: 'App.Example' }],
  ])('accepts %s', (_, changes) => {
    expect(refusal(changes)).toBe('accepted')
  })

  it.each(['__Host-a', '__host-a', '__HOST-a', '__hOsT-', '__Secure-a', '__secure-a', '__SECURE-'])(
    'refuses %s without Secure: user agents compare prefixes in any case (RFC 6265bis §5.7)',
    (name) => {
      expect(refusal({ name, secure: false })).toMatchObject({
        code: 'invalid_option',
        option: 'cookies.names.session',
      })
    },
  )

  it.each(['__Host-a', '__host-a', '__HOST-a'])('refuses %s with a Domain', (name) => {
    expect(refusal({ name, domain: 'app.example' })).toMatchObject({
      code: 'invalid_option',
      option: 'cookies.names.session',
    })
  })

  it.each([
    '',
    ' ',
    'a b',
    'a;b',
    'a=b',
    'a,b',
    '"a"',
    'a\n',
    'a\0',
    'é',
    'a/b',
    '[a]',
    'n'.repeat(65),
  ])('refuses the name %j', (name) => {
    expect(refusal({ name })).toMatchObject({ code: 'invalid_option' })
  })

  it.each([
    '',
    '.app.example',
    'app.example.',
    'localhost',
    'a b.example',
    'app.example; Path=/x',
    'app.example\n',
    'app..example',
    '-app.example',
    'app-.example',
    '127.0.0.1',
    'app.example:443',
    'https://app.example',
    'é.example',
  ])('refuses the Domain %j', (domain) => {
    expect(refusal({ name: 'a', domain })).toMatchObject({
      code: 'invalid_option',
      option: 'cookies.domain',
    })
  })
})

describe('buildCookie', () => {
  it.each<[string, Partial<CookieSpec>, number | null, string]>([
    ['lives for its age', {}, 60, 'Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax'],
    ['ends with the browser', {}, null, 'Path=/; HttpOnly; Secure; SameSite=Lax'],
    [
      'is strict',
      { sameSite: 'Strict' },
      1,
      'Max-Age=1; Path=/; HttpOnly; Secure; SameSite=Strict',
    ],
    ['is for plain http', { secure: false }, 1, 'Max-Age=1; Path=/; HttpOnly; SameSite=Lax'],
    [
      'is for a domain',
      { domain: 'app.example' },
      2,
      'Max-Age=2; Path=/; Domain=app.example; HttpOnly; Secure; SameSite=Lax',
    ],
    [
      'is over',
      {},
      0,
      'Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Lax',
    ],
  ])('writes a cookie that %s', (_, changes, maxAgeS, attributes) => {
    expect(buildCookie(spec(changes), 'lks_a-b.c', maxAgeS)).toBe(
      `${NAME}=lks_a-b.c; ${attributes}`,
    )
  })

  it.each([
    'a b',
    'a;b',
    'a; Domain=evil.example',
    'a,b',
    'a"b',
    '"a"',
    'a\\b',
    'a\r\nSet-Cookie: b=c',
    'a\n',
    '\0',
    'é',
    'a=b',
    'a%20b',
    ' ',
  ])('refuses the value %j', (value) => {
    expect(() => buildCookie(spec(), value, 1)).toThrow(RangeError)
  })

  it('has at most 4096 bytes of name and value (RFC 6265bis §5.6)', () => {
    const most = 4096 - NAME.length
    expect(buildCookie(spec(), 'x'.repeat(most), 1)).toContain('x'.repeat(most))
    expect(() => buildCookie(spec(), 'x'.repeat(most + 1), 1)).toThrow(RangeError)
  })

  it('is read back as it was written', () => {
    const values = fc.stringMatching(/^[A-Za-z0-9._-]+$/)
    fc.assert(
      fc.property(values, (value) => {
        const [pair = ''] = buildCookie(spec(), value, 1).split('; ')
        expect(readCookie(pair, NAME)).toEqual([value])
        expect(readCookie(`a=b; ${pair}; c=d`, NAME)).toEqual([value])
      }),
    )
  })
})

describe('clearCookie', () => {
  it.each<Partial<CookieSpec>>([
    {},
    { secure: false, name: 'latchkey-session' },
    { sameSite: 'Strict' },
    { name: '__Secure-a', domain: 'app.example' },
  ])('names the same cookie with the same attributes: %j', (changes) => {
    const cleared = clearCookie(spec(changes)).split('; ')
    const set = buildCookie(spec(changes), 'value', 60).split('; ')
    expect(cleared[0]).toBe(`${spec(changes).name}=`)
    expect(cleared.slice(1, 3)).toEqual(['Max-Age=0', 'Expires=Thu, 01 Jan 1970 00:00:00 GMT'])
    expect(cleared.slice(3)).toEqual(set.slice(2))
  })
})

describe('readCookie', () => {
  it.each<[string, string | undefined, string[]]>([
    ['no header', undefined, []],
    ['an empty header', '', []],
    ['the cookie alone', `${NAME}=v`, ['v']],
    ['the cookie among others', `a=1; ${NAME}=v; b=2`, ['v']],
    ['no blank after the semicolon', `a=1;${NAME}=v;b=2`, ['v']],
    ['SP and HTAB around name and value', ` \t${NAME}\t =\t v \t; b=2`, ['v']],
    ['blanks inside of the value', `${NAME}= a b\tc `, ['a b\tc']],
    ['an empty value', `${NAME}=`, ['']],
    ['a value of blanks', `${NAME}=  \t`, ['']],
    ['equals signs in the value', `${NAME}=a=b==`, ['a=b==']],
    ['quotes, untouched', `${NAME}="a b"`, ['"a b"']],
    ['a semicolon in quotes, which ends the value all the same', `${NAME}="a;b"`, ['"a']],
    ['escapes, untouched', `${NAME}=%41%3B+`, ['%41%3B+']],
    ['duplicates, in their order', `${NAME}=1; x=y; ${NAME}=2;${NAME}=1`, ['1', '2', '1']],
    ['empty pairs', `;; ;${NAME}=v;;`, ['v']],
    ['a name without a value', NAME, []],
    ['a name without a value, then the cookie', `${NAME}; ${NAME}=v`, ['v']],
    ['a nameless cookie whose value is the name', `=${NAME}`, []],
    ['a nameless cookie whose value looks like the cookie', `=${NAME}=v`, []],
    ['a nameless cookie with blanks', ` =${NAME}=v; = ${NAME}=w`, []],
    ['other letter case', `__host-latchkey-session=v; ${NAME.toUpperCase()}=w`, []],
    ['a longer name', `${NAME}2=v; x${NAME}=w`, []],
    ['a shorter name', `${NAME.slice(0, -1)}=v`, []],
    ['the name inside of another value', `a=${NAME}=v`, []],
    ['the name in quotes', `"${NAME}"=v`, []],
    ['an escaped name', `__Host%2Dlatchkey-session=v`, []],
    ['an attribute of RFC 2965', `$Version=1; ${NAME}=v; $Path=/`, ['v']],
    ['an attribute of RFC 2965 before a comma', `$Version=1, ${NAME}=v`, []],
    ['a comma between cookies', `a=1, ${NAME}=v`, []],
    ['a comma in the value', `${NAME}=v, b=1`, ['v, b=1']],
    ['a line end around it', `\n${NAME}=v`, []],
    ['a NUL', `${NAME}\0=v`, []],
  ])('reads from %s', (_, header, expected) => {
    expect(readCookie(header, NAME)).toEqual(expected)
  })

  it.each([
    '\u00a0',
    '\u2000',
    '\u2003',
    '\u200b',
    '\u2028',
    '\u3000',
    '\ufeff',
    '\u0085',
    '\u000b',
    '\u000c',
    '\r',
  ])('does not trim %j, which would let another name pass for the prefixed one', (blank) => {
    expect(readCookie(`${blank}${NAME}=evil`, NAME)).toEqual([])
    expect(readCookie(`a=b; ${blank}${NAME}${blank}=evil`, NAME)).toEqual([])
    expect(readCookie(`${NAME}=v${blank}`, NAME)).toEqual([`v${blank}`])
    // The same bytes as Node hands them over: UTF-8 read as latin1.
    const latin1 = Buffer.from(blank, 'utf8').toString('latin1')
    expect(readCookie(`${latin1}${NAME}=evil`, NAME)).toEqual([])
  })

  it('reads what a naive reader reads, and never throws', () => {
    const names = ['a', 'ab', NAME, '__proto__', 'constructor']
    const piece = fc.oneof(
      fc.constantFrom(...names, ';', '=', ' ', '\t', ',', '"', '; ', '\u00a0', '$Version'),
      fc.string({ maxLength: 3 }),
      fc.nat(0xffff).map((unit) => String.fromCharCode(unit)),
    )
    const headers = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''))
    fc.assert(
      fc.property(headers, fc.constantFrom(...names), (header, name) => {
        expect(readCookie(header, name)).toEqual(naive(header, name))
      }),
      { numRuns: 2000 },
    )
  })

  it('reads a header of nothing but separators', () => {
    expect(readCookie(`${NAME}${';'.repeat(1_000_000)}`, NAME)).toEqual([])
    expect(readCookie(`${NAME}${'='.repeat(1_000_000)}`, NAME)).toEqual(['='.repeat(999_999)])
    expect(readCookie(`${NAME}${' '.repeat(1_000_000)}=v`, NAME)).toEqual(['v'])
  })
})

describe('withoutCookies', () => {
  const names = new Set(['__host-latchkey-session', 'sid'])

  it.each([
    ['a=1; sid=secret; b=2', 'a=1; b=2'],
    ['sid=secret; a=1', 'a=1'],
    ['a=1;sid=secret', 'a=1'],
    ['sid=1; a=1; sid=2; SID=3; sid', 'a=1'],
    ['sid=secret', ''],
    ['', ''],
    ['__Host-latchkey-session=x; theme=dark', 'theme=dark'],
    ['\u00a0sid=x; \u2000sid =x; a=1', 'a=1'],
    ['side=1; xsid=2; a=sid', 'side=1; xsid=2; a=sid'],
    ['a="1; sid=secret; 2"', 'a="1; 2"'],
  ])('makes of %j %j', (header, expected) => {
    expect(withoutCookies(header, names)).toBe(expected)
  })

  it('leaves nothing that could be read as one of them, and everything else', () => {
    const piece = fc.constantFrom('sid', '=', ';', ' ', '\t', '\u00a0', 'a', '"', 'SID', ',', 'b')
    const headers = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''))
    fc.assert(
      fc.property(headers, (header) => {
        const left = withoutCookies(header, names)
        expect(readCookie(left, 'sid')).toEqual([])
        for (const name of ['a', 'b']) {
          expect(readCookie(left, name)).toEqual(readCookie(header, name))
        }
      }),
      { numRuns: 2000 },
    )
  })
})

/** RFC 6265bis §4.2.1 read backwards, with no thought of speed. */
function naive(header: string, name: string): string[] {
  return header.split(';').flatMap((pair) => {
    const [key = '', ...rest] = pair.split('=')
    const isIt = rest.length > 0 && trim(key) === name
    return isIt ? [trim(rest.join('='))] : []
  })
}

function trim(text: string): string {
  return text.replaceAll(/^[ \t]+|[ \t]+$/g, '')
}
