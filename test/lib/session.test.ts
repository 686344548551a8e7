import { describe, expect, it } from '@jest/globals'
import type { NewSession, SessionRecord } from '../../lib/session.ts'
import {
  clampIdle,
  dueWrite,
  isStaleLogin,
  openRecord,
  rotatedFields,
  touchIntervalMs,
} from '../../lib/session.ts'

const NOW = 1_700_000_000_000
const LIFETIMES = { idleTimeoutMs: 100_000, absoluteTimeoutMs: 300_000 }
const SESSION: NewSession = {
  sid: 'sid',
  user: { tenant: 'acme', id: 'alice' },
  seedHash: 'seed',
  attributes: { roles: [], scope: [], level: null, amr: [], claims: {} },
  bindingHash: 'device',
  device: { label: null, ip: null },
  remember: true,
  data: { a: 1 },
}
const RECORD: SessionRecord = openRecord(SESSION, LIFETIMES, NOW)

describe('openRecord', () => {
  it('starts every counter at 0 and every instant now', () => {
    expect(RECORD).toEqual({
      ...SESSION,
      ver: 0,
      dataVer: 0,
      generation: 0,
      rotatedAt: NOW,
      attemptHash: null,
      rotatedBy: 'device',
      confirmed: false,
      createdAt: NOW,
      authTime: NOW,
      lastSeenAt: NOW,
      idleDeadline: NOW + 100_000,
      absoluteDeadline: NOW + 300_000,
    })
  })

  it('has no idle deadline after the absolute one', () => {
    const lifetimes = { idleTimeoutMs: 300_001, absoluteTimeoutMs: 300_000 }
    expect(openRecord(SESSION, lifetimes, NOW).idleDeadline).toBe(NOW + 300_000)
  })
})

describe('clampIdle', () => {
  it.each([
    [1000, 99, 900, 999],
    [1000, 100, 900, 1000],
    [1000, 101, 900, 1000],
    [1000, 50, 2000, 1000],
  ])('clamps to %i: an idle timeout of %i at %i ends at %i', (absolute, idle, now, end) => {
    expect(clampIdle(absolute, idle, now)).toBe(end)
  })
})

describe('dueWrite', () => {
  it.each([
    ['nothing before the touch is due', 49_999, false, undefined, null],
    ['the touch when it is due', 50_000, false, undefined, [true, false]],
    ['the confirmation', 0, false, 0, [false, true]],
    ['both', 50_000, false, 0, [true, true]],
    ['nothing for an older generation', 0, false, -1, null],
    ['nothing for a newer generation', 0, false, 1, null],
    ['nothing when it is confirmed', 0, true, 0, null],
    ['the touch of what is confirmed', 50_000, true, undefined, [true, true]],
    ['the touch of what is confirmed, by an old token', 50_000, true, -1, [true, true]],
    ['nothing when the clock was set back', -5, false, undefined, null],
  ] as const)('writes %s', (_, age, confirmed, generation, expected) => {
    const record = { ...RECORD, confirmed }
    const due = dueWrite(record, LIFETIMES.idleTimeoutMs, generation, NOW + age)
    expect(due).toEqual(
      expected && {
        confirmed: expected[1],
        lastSeenAt: expected[0] ? NOW + age : NOW,
        idleDeadline: NOW + 100_000 + (expected[0] ? age : 0),
      },
    )
  })

  it('clamps the touch to the absolute deadline', () => {
    expect(dueWrite(RECORD, 100_000, undefined, NOW + 200_001)).toMatchObject({
      idleDeadline: NOW + 300_000,
    })
  })

  it.each([
    [7 * 86_400_000, 60_000],
    [120_000, 60_000],
    [119_998, 59_999],
    [10_000, 5000],
  ])('has the touch due after a minute, or half of a short idle timeout: %i → %i', (idle, due) => {
    expect(touchIntervalMs(idle)).toBe(due)
    expect(dueWrite(RECORD, idle, undefined, NOW + due - 1)).toBeNull()
    expect(dueWrite(RECORD, idle, undefined, NOW + due)).not.toBeNull()
  })
})

describe('rotatedFields', () => {
  const rotation = {
    generation: 7,
    attemptHash: 'attempt',
    bindingHash: null,
    idleTimeoutMs: 100_000,
  }

  it('is what a rotation writes and nothing else', () => {
    expect(rotatedFields({ ...RECORD, confirmed: true }, rotation, NOW + 5)).toEqual({
      generation: 7,
      rotatedAt: NOW + 5,
      rotatedBy: null,
      attemptHash: 'attempt',
      confirmed: false,
      lastSeenAt: NOW + 5,
      idleDeadline: NOW + 100_005,
    })
  })

  it('clamps to the absolute deadline', () => {
    expect(rotatedFields(RECORD, rotation, NOW + 299_999).idleDeadline).toBe(NOW + 300_000)
  })
})

describe('isStaleLogin', () => {
  it.each([
    ['never revoked', undefined, 10, 100, false],
    ['began before', 50, 51, 100, true],
    ['began in the same millisecond', 50, 50, 100, true],
    ['began after', 50, 49, 100, false],
    ['took no time, in the same millisecond', 100, 0, 100, false],
    ['took no time, later', 99, 0, 100, false],
    ['took 1 ms, in the same millisecond', 100, 1, 100, true],
    ['took 1 ms, 1 ms later', 99, 1, 100, true],
    ['took 1 ms, 2 ms later', 98, 1, 100, false],
    ['the clock was set back', 105, 0, 100, true],
  ])('%s: revoked at %p, took %i ms, now %i: %p', (_, revokedAt, age, now, stale) => {
    expect(isStaleLogin(revokedAt, age, now)).toBe(stale)
  })
})
