import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { Purpose } from '../../lib/key-ring.ts'
import { createKeyRing } from '../../lib/key-ring.ts'

const OLD = 'the-old-secret-of-thirty-two-byt'
const NEW = 'the-new-secret-of-thirty-two-byt'
const PURPOSES: readonly Purpose[] = ['session-token', 'refresh-token']

const utf16 = fc.array(fc.nat(0xffff)).map((units) => String.fromCharCode(...units))

const ring = createKeyRing([OLD])
const TEXT = 'lks_abcdef.some.text'
const MAC = ring.sign('session-token', TEXT)

function verifies(mac: string, text = TEXT, kid = ring.activeKid): boolean {
  return ring.verify('session-token', kid, text, mac)
}

function refusal(secrets: unknown): unknown {
  try {
    createKeyRing(secrets as string[])
    return 'accepted'
  } catch (err) {
    return err
  }
}

describe('a key ring', () => {
  it('derives the same kid and MAC from the same secret, for ever', () => {
    // Written down: another value would end every session at the next upgrade.
    expect(ring.activeKid).toBe('TK65WH')
    expect(ring.sign('session-token', 'text')).toBe('Eewhd1c19b4_hD9-H3c9dw')
    expect(ring.sign('refresh-token', 'text')).toBe('MFoXlAeQyUXHSCgEEfu7HQ')
  })

  it('names a key by 6 characters base64url', () => {
    for (let draw = 0; draw < 200; draw++) {
      expect(createKeyRing([randomBytes(32)]).activeKid).toMatch(/^[\w-]{6}$/)
    }
  })

  it('makes MACs of 22 characters base64url, whatever the text', () => {
    fc.assert(
      fc.property(utf16, fc.constantFrom(...PURPOSES), (text, purpose) => {
        const mac = ring.sign(purpose, text)
        expect(mac).toMatch(/^[\w-]{21}[AQgw]$/)
        expect(ring.verify(purpose, ring.activeKid, text, mac)).toBe(true)
      }),
    )
  })

  it('takes bytes and text alike', () => {
    const bytes = createKeyRing([Buffer.from(OLD, 'utf8')])
    expect(bytes.activeKid).toBe(ring.activeKid)
    expect(bytes.sign('session-token', TEXT)).toBe(MAC)
    expect(createKeyRing([new Uint8Array(Buffer.from(OLD))]).activeKid).toBe(ring.activeKid)
  })

  it('keeps its keys when the caller overwrites the bytes it gave', () => {
    const bytes = Buffer.from(OLD, 'utf8')
    const given = createKeyRing([bytes])
    bytes.fill(0)
    expect(given.sign('session-token', TEXT)).toBe(MAC)
  })

  it('shows neither secret nor derived key when printed', () => {
    expect(inspect(ring, { depth: 10, showHidden: true })).not.toContain(OLD)
    expect(JSON.stringify(ring)).toBe(JSON.stringify({ activeKid: ring.activeKid }))
  })
})

describe('a MAC', () => {
  it.each([
    ['session-token', 'refresh-token'],
    ['refresh-token', 'session-token'],
  ] as const)('made for %s does not verify for %s', (made, other) => {
    const mac = ring.sign(made, TEXT)
    expect(ring.verify(made, ring.activeKid, TEXT, mac)).toBe(true)
    expect(ring.verify(other, ring.activeKid, TEXT, mac)).toBe(false)
  })

  it.each(Array.from({ length: MAC.length }, (_, length) => length))(
    'cut to its first %i characters does not verify',
    (length) => {
      expect(verifies(MAC.slice(0, length))).toBe(false)
    },
  )

  it.each([
    ['one more character', `${MAC}A`],
    ['its own first character again', MAC + MAC.charAt(0)],
    ['itself twice', MAC + MAC],
    ['padding', `${MAC}==`],
    ['a line end', `${MAC}\n`],
    ['a NUL', `${MAC}\0`],
    ['a blank before it', ` ${MAC}`],
    ['its last characters only', MAC.slice(1)],
    ['other letter case', MAC.toLowerCase() === MAC ? MAC.toUpperCase() : MAC.toLowerCase()],
  ])('with %s does not verify', (_, mac) => {
    expect(verifies(mac)).toBe(false)
  })

  it('does not verify with any one character changed, nor in another spelling of its last', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. '
    for (let at = 0; at < MAC.length; at++) {
      for (const letter of alphabet) {
        const mac = MAC.slice(0, at) + letter + MAC.slice(at + 1)
        expect(verifies(mac)).toBe(mac === MAC)
      }
    }
  })

  it.each([0x100, 0x200, 0x4100, 0xff00])(
    'does not verify when its characters are moved up by %i, where only low bytes agree',
    (offset) => {
      const moved = MAC.split('').map((letter) =>
        String.fromCharCode(letter.charCodeAt(0) + offset),
      )
      expect(verifies(moved.join(''))).toBe(false)
      for (let at = 0; at < MAC.length; at++) {
        expect(verifies(MAC.slice(0, at) + (moved[at] ?? '') + MAC.slice(at + 1))).toBe(false)
      }
    },
  )

  it.each(['\ud800', 'é', '💥', 'Ł', '\u0000'])('of characters like %j never throws', (letter) => {
    expect(verifies(letter.repeat(22))).toBe(false)
    expect(verifies(letter)).toBe(false)
  })

  it.each([
    ['another text', `${TEXT} `],
    ['no text', ''],
    ['a text of other case', TEXT.toUpperCase()],
    ['a prefix of the text', TEXT.slice(0, -1)],
  ])('does not verify for %s', (_, text) => {
    expect(verifies(MAC, text)).toBe(false)
  })

  it.each([
    '',
    'AAAAAA',
    '__proto__',
    'constructor',
    ring.activeKid.slice(1),
    `${ring.activeKid}A`,
  ])('does not verify under the kid %j', (kid) => {
    expect(verifies(MAC, TEXT, kid)).toBe(false)
  })

  it('does not verify under another secret', () => {
    const other = createKeyRing([NEW])
    expect(other.verify('session-token', other.activeKid, TEXT, MAC)).toBe(false)
    expect(other.verify('session-token', ring.activeKid, TEXT, MAC)).toBe(false)
  })
})

describe('rotation of secrets', () => {
  const before = createKeyRing([OLD])
  const appended = createKeyRing([OLD, NEW])
  const moved = createKeyRing([NEW, OLD])
  const dropped = createKeyRing([NEW])
  const stages = { before, appended, moved, dropped }
  type Stage = keyof typeof stages

  it.each([
    ['before', 'appended', true],
    ['appended', 'before', true],
    ['appended', 'moved', true],
    ['moved', 'appended', true],
    ['moved', 'dropped', true],
    ['dropped', 'moved', true],
    ['before', 'dropped', false],
    ['moved', 'before', false],
  ] satisfies [Stage, Stage, boolean][])(
    'a MAC of the stage "%s" verifies at the stage "%s": %s',
    (signed, read, expected) => {
      for (const purpose of PURPOSES) {
        const { activeKid } = stages[signed]
        const mac = stages[signed].sign(purpose, TEXT)
        expect(stages[read].verify(purpose, activeKid, TEXT, mac)).toBe(expected)
      }
    },
  )

  it('signs with the secret at position 0 only', () => {
    expect(appended.activeKid).toBe(before.activeKid)
    expect(moved.activeKid).toBe(dropped.activeKid)
    expect(moved.activeKid).not.toBe(before.activeKid)
    expect(appended.sign('session-token', TEXT)).toBe(before.sign('session-token', TEXT))
    expect(moved.sign('session-token', TEXT)).toBe(dropped.sign('session-token', TEXT))
  })

  it('verifies under the secret the kid names, not under any that fits', () => {
    const mac = moved.sign('session-token', TEXT)
    expect(moved.verify('session-token', before.activeKid, TEXT, mac)).toBe(false)
  })
})

describe('createKeyRing', () => {
  it.each([
    ['no secret', [], 'secrets'],
    ['an empty secret', [''], 'secrets[0]'],
    ['31 bytes of text', ['x'.repeat(31)], 'secrets[0]'],
    ['31 bytes', [randomBytes(31)], 'secrets[0]'],
    ['a short secret at a later place', [OLD, 'short'], 'secrets[1]'],
    ['a number', [12_345], 'secrets[0]'],
    ['undefined', [undefined], 'secrets[0]'],
    ['null', [OLD, null], 'secrets[1]'],
    ['an ArrayBuffer', [new ArrayBuffer(32)], 'secrets[0]'],
    ['a list of numbers', [Array.from({ length: 32 }, () => 1)], 'secrets[0]'],
    ['the same secret twice', [OLD, NEW, OLD], 'secrets[2]'],
    ['the same secret as text and bytes', [OLD, Buffer.from(OLD)], 'secrets[1]'],
    ['one text in place of the list', OLD, 'secrets'],
    ['bytes in place of the list', randomBytes(32), 'secrets'],
    ['an object', { 0: OLD }, 'secrets'],
    ['null in place of the list', null, 'secrets'],
  ])('refuses %s and names the place', (_, secrets, option) => {
    expect(refusal(secrets)).toMatchObject({ code: 'invalid_option', option })
  })

  it('counts bytes, not characters', () => {
    expect(refusal(['é'.repeat(16)])).toBe('accepted')
    expect(refusal(['é'.repeat(15)])).toMatchObject({ code: 'invalid_option' })
  })

  it('names the fix for a short secret, and never the secret', () => {
    const error = refusal([OLD, 'hunter2-is-short'])
    expect(inspect(error)).toContain('randomBytes')
    expect(inspect(error, { depth: 5 })).not.toContain('hunter2')
  })
})
