import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { Requirements, Subject } from '../../lib/guard-policy.ts'
import { decideAccess, decideCheck } from '../../lib/guard-policy.ts'

const NOW = Date.UTC(2026, 5, 1)
const MINUTE = 60_000

function requirements(changes: Partial<Requirements> = {}): Requirements {
  return { roles: [], scope: [], levels: null, maxAuthAgeMs: null, ...changes }
}

function subject(changes: Partial<Subject> = {}): Subject {
  return { roles: [], scope: [], level: null, authTime: NOW, ...changes }
}

describe('decideCheck', () => {
  const CALLS_FOR_IT: Partial<Requirements>[] = [
    { levels: ['mfa'] },
    { levels: [] },
    { maxAuthAgeMs: MINUTE },
    { maxAuthAgeMs: 0 },
    { levels: ['mfa'], maxAuthAgeMs: MINUTE },
  ]
  const DOES_NOT: Partial<Requirements>[] = [{}, { roles: ['admin'] }, { scope: ['read'] }]
  const BOTH = [false, true] as const

  it.each(
    BOTH.flatMap((sensitive) =>
      BOTH.flatMap((blind) =>
        BOTH.flatMap((sampled) =>
          [...CALLS_FOR_IT, ...DOES_NOT].map((changes) => ({ sensitive, blind, sampled, changes })),
        ),
      ),
    ),
  )('first of sensitive, level or login age, blind, sampled: %j', (row) => {
    const { sensitive, blind, sampled, changes } = row
    const required = sensitive || CALLS_FOR_IT.includes(changes)
    const expected = required ? 'required' : blind ? 'blind' : sampled ? 'wanted' : 'none'
    const decision = decideCheck({ sensitive, blind, sampled, requirements: requirements(changes) })
    expect(decision).toBe(expected)
  })
})

describe('decideAccess', () => {
  it('lets pass who is asked for nothing', () => {
    expect(decideAccess(subject(), requirements(), NOW)).toBeNull()
    expect(decideAccess(subject({ level: 'mfa', authTime: 0 }), requirements(), NOW)).toBeNull()
  })

  it.each<[level: string | null, levels: string[] | null, passes: boolean]>([
    [null, null, true],
    ['pwd', null, true],
    ['partial', null, false],
    ['Partial', null, true],
    ['partial', ['partial'], true],
    ['partial', ['mfa', 'partial'], true],
    ['partial', ['mfa'], false],
    ['mfa', ['partial'], false],
    [null, ['partial'], false],
    [null, ['mfa'], false],
    ['mfa', ['mfa'], true],
    ['mfa', ['pwd', 'mfa'], true],
    ['MFA', ['mfa'], false],
    ['mf', ['mfa'], false],
    ['mfa', [], false],
    [null, [], false],
  ])('level %p where %p is asked passes: %p', (level, levels, passes) => {
    const error = decideAccess(subject({ level }), requirements({ levels }), NOW)
    expect(error?.code).toBe(passes ? undefined : 'step_up_required')
  })

  it.each<[authTime: number, maxAuthAgeMs: number | null, passes: boolean]>([
    [NOW - MINUTE, MINUTE, true],
    [NOW - MINUTE - 1, MINUTE, false],
    [NOW - MINUTE + 1, MINUTE, true],
    [NOW, 0, true],
    [NOW - 1, 0, false],
    [NOW + 1, 0, true],
    [0, null, true],
    [0, MINUTE, false],
  ])('a login at %p where an age of %p is asked passes: %p', (authTime, maxAuthAgeMs, passes) => {
    const error = decideAccess(subject({ authTime }), requirements({ maxAuthAgeMs }), NOW)
    expect(error?.code).toBe(passes ? undefined : 'step_up_required')
  })

  it.each<[has: string[], asked: string[], passes: boolean]>([
    [[], [], true],
    [['admin'], [], true],
    [[], ['admin'], false],
    [['admin'], ['admin'], true],
    [['admin'], ['admin', 'owner'], true],
    [['owner', 'user'], ['admin', 'owner'], true],
    [['user'], ['admin', 'owner'], false],
    [['Admin'], ['admin'], false],
    [['administrator'], ['admin'], false],
  ])('roles %j where any of %j is asked pass: %p', (roles, asked, passes) => {
    const error = decideAccess(subject({ roles }), requirements({ roles: asked }), NOW)
    expect(error?.code).toBe(passes ? undefined : 'forbidden')
  })

  it.each<[has: string[], asked: string[], passes: boolean]>([
    [[], [], true],
    [['read'], [], true],
    [[], ['read'], false],
    [['read'], ['read'], true],
    [['read'], ['read', 'write'], false],
    [['write', 'read', 'x'], ['read', 'write'], true],
    [['READ'], ['read'], false],
    [['read:all'], ['read'], false],
    [['read write'], ['read', 'write'], false],
  ])('scope %j where all of %j is asked passes: %p', (scope, asked, passes) => {
    const error = decideAccess(subject({ scope }), requirements({ scope: asked }), NOW)
    expect(error?.code).toBe(passes ? undefined : 'insufficient_scope')
  })

  it.each<[string, Subject, Requirements, object]>([
    [
      'the levels (RFC 9470 §3)',
      subject(),
      requirements({ levels: ['mfa', 'hw'] }),
      { code: 'step_up_required', status: 401, challenge: { acr_values: 'mfa hw' } },
    ],
    [
      'the age in whole seconds (RFC 9470 §3)',
      subject({ authTime: 0 }),
      requirements({ maxAuthAgeMs: 1999 }),
      { code: 'step_up_required', status: 401, challenge: { max_age: '1' } },
    ],
    [
      'both, whichever is missing',
      subject({ level: 'mfa', authTime: 0 }),
      requirements({ levels: ['mfa'], maxAuthAgeMs: MINUTE }),
      { code: 'step_up_required', challenge: { acr_values: 'mfa', max_age: '60' } },
    ],
    [
      'nothing, where the level is only not enough',
      subject({ level: 'partial' }),
      requirements(),
      { code: 'step_up_required', status: 401, challenge: {} },
    ],
    [
      'all of the scope (RFC 6750 §3)',
      subject({ scope: ['read'] }),
      requirements({ scope: ['read', 'write'] }),
      { code: 'insufficient_scope', status: 403, challenge: { scope: 'read write' } },
    ],
    [
      'nothing for a role: no token of this user would have it',
      subject(),
      requirements({ roles: ['admin'] }),
      { code: 'forbidden', status: 403, challenge: {} },
    ],
  ])('challenges for %s', (_, who, asked, expected) => {
    const { code, status, challenge } = decideAccess(who, asked, NOW) ?? {}
    expect({ code, status, challenge }).toMatchObject(expected)
    expect(challenge).toEqual((expected as { challenge: object }).challenge)
  })

  it('asks for step-up first, then for scope, then for the role', () => {
    const asked = requirements({ levels: ['mfa'], roles: ['admin'], scope: ['read'] })
    const steps = [subject(), subject({ level: 'mfa' }), subject({ level: 'mfa', scope: ['read'] })]
    expect(steps.map((who) => decideAccess(who, asked, NOW)?.code)).toEqual([
      'step_up_required',
      'insufficient_scope',
      'forbidden',
    ])
    const enough = subject({ level: 'mfa', scope: ['read'], roles: ['admin'] })
    expect(decideAccess(enough, asked, NOW)).toBeNull()
  })

  it('is monotonic: who asks for more never lets more pass, who has more never passes less', () => {
    const words = fc.subarray(['a', 'b', 'c'])
    const asked = fc.record({
      roles: words,
      scope: words,
      levels: fc.option(fc.subarray(['pwd', 'mfa', 'partial'])),
      maxAuthAgeMs: fc.option(fc.nat(100)),
    })
    const who = fc.record({
      roles: words,
      scope: words,
      level: fc.option(fc.constantFrom('pwd', 'mfa', 'partial')),
      authTime: fc.integer({ min: NOW - 150, max: NOW }),
    })
    fc.assert(
      fc.property(who, asked, (one, need) => {
        fc.pre(decideAccess(one, need, NOW) === null)
        expect(decideAccess({ ...one, roles: ['a', 'b', 'c'] }, need, NOW)).toBeNull()
        expect(decideAccess({ ...one, scope: ['a', 'b', 'c'] }, need, NOW)).toBeNull()
        expect(decideAccess({ ...one, authTime: NOW }, need, NOW)).toBeNull()
        expect(decideAccess(one, { ...need, roles: [] }, NOW)).toBeNull()
        expect(decideAccess(one, { ...need, scope: [] }, NOW)).toBeNull()
        expect(decideAccess(one, { ...need, maxAuthAgeMs: null }, NOW)).toBeNull()
      }),
    )
  })
})
