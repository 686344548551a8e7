import { describe, expect, it } from '@jest/globals'
import type { UserRef } from '../../../lib/user.ts'
import type { StoreInUse } from './support.ts'
import { listed, newUser, open, random } from './support.ts'

/** Names that mean something to somebody on the way: keys, patterns, SQL, paths, prototypes. */
const ODD_IDS: readonly string[] = [
  '}',
  '{',
  '{x}',
  '{}',
  '*',
  '?',
  '[a-z]',
  'a\nb',
  'a\n',
  '\n',
  'a:b',
  'a::b',
  ':',
  ' ',
  ' a',
  'a ',
  'A',
  'a',
  'ß',
  'SS',
  "o'brien",
  '"quoted"',
  "'; drop table latchkey_session; --",
  '$1',
  '%',
  '_',
  '\\',
  '\\x00',
  '../..',
  '__proto__',
  'constructor',
  'null',
  'undefined',
  '0',
  '00',
  '1e3',
  '1000',
  '\u00e9', // é in one piece (NFC)
  'e\u0301', // é in two (NFD)
  '\u200b',
  '\ufeffa',
  '\u202ea',
  '😀',
  '😀'.repeat(127),
  'x'.repeat(255),
  `${'x'.repeat(254)}y`,
]

export function describeIdentity(test: StoreInUse): void {
  /** Opens one session each; says which names are then taken for another, byte for byte. */
  async function mixedUp(users: readonly UserRef[]): Promise<UserRef[]> {
    const sessions = new Map<UserRef, string>()
    const wrong = new Set<UserRef>()
    for (const user of users) sessions.set(user, (await open(test.store, user)).sid)
    for (const [user, sid] of sessions) {
      const { items } = await test.store.list({ user, limit: 100 })
      const [first, ...others] = items
      if (first?.sid !== sid || others.length > 0) wrong.add(user)
      if (first?.user.id !== user.id || first.user.tenant !== user.tenant) wrong.add(user)
    }
    for (const [user, sid] of [...sessions].toReversed()) {
      const { revoked } = await test.store.revokeUser({ user })
      if (revoked.length !== 1 || revoked[0] !== sid) wrong.add(user)
    }
    return [...wrong]
  }

  describe('ids', () => {
    it('are kept byte-exact: odd ids are users of their own', async () => {
      const tenant = `tenant-${random()}`
      expect(await mixedUp(ODD_IDS.map((id) => ({ tenant, id })))).toEqual([])
    })

    it('are kept byte-exact: odd tenants are tenants of their own', async () => {
      const { id } = newUser()
      expect(await mixedUp(['', ...ODD_IDS].map((tenant) => ({ tenant, id })))).toEqual([])
    })

    it('have a boundary between tenant and id', async () => {
      const unique = random()
      expect(
        await mixedUp([
          { tenant: `a${unique}`, id: 'bc' },
          { tenant: `a${unique}b`, id: 'c' },
          { tenant: '', id: `a${unique}bc` },
          { tenant: `a${unique}:b`, id: 'c' },
          { tenant: `a${unique}`, id: 'b:c' },
          { tenant: `a${unique}`, id: ':bc' },
          { tenant: `a${unique}:`, id: 'bc' },
          { tenant: 'c', id: `a${unique}b` },
        ]),
      ).toEqual([])
    })

    it('decide alone who owns a session', async () => {
      const tenant = `tenant-${random()}`
      const nfc = { tenant, id: '\u00e9' }
      const nfd = { tenant, id: 'e\u0301' }
      const { sid } = await open(test.store, nfc)
      expect(await test.store.revoke({ sid, owner: nfd })).toEqual({ outcome: 'gone' })
      expect(await listed(test.store, nfc)).toEqual([sid])
      expect(await test.store.revoke({ sid, owner: nfc })).toMatchObject({ outcome: 'revoked' })
    })
  })
}
