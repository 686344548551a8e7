import { expect, it } from '@jest/globals'
import { ClockWatch } from '../../lib/clock-watch.ts'

const T = 1_000_000

it.each([
  ['the same', T, T, T],
  ['within the time the read took', T, T + 20_000, T + 3],
  ['just within the limit', T, T, T + 5000],
  ['behind, just within the limit', T, T, T - 5000],
  ['read before a node that stood still', T, T + 3_600_000, T + 1],
  ['read before a node whose clock was set back', T, T - 3_600_000, T + 1],
])('clocks that are %s are no finding', (_name, sentAt, receivedAt, storeNow) => {
  const watch = new ClockWatch()
  expect(watch.observe(sentAt, receivedAt, storeNow)).toBe(false)
  expect(watch.finding).toBeNull()
})

it.each([
  ['ahead of', T + 60_510, '60 s ahead of'],
  ['behind', T - 9001, '9 s behind'],
])('a store %s this node is one', (_name, storeNow, words) => {
  const watch = new ClockWatch()
  expect(watch.observe(T, T + 500, storeNow)).toBe(true)
  expect(watch.finding).toMatchObject({ code: 'clock_offset', severity: 'warning' })
  expect(watch.finding?.message).toContain(words)
})

it('is said when it begins, not while it lasts or hovers, and again when it comes back', () => {
  const watch = new ClockWatch()
  const offsets = [0, 5001, 9000, 4900, 5001, 2600, 2500, 4000, 6000]
  expect(offsets.map((offset) => watch.observe(T, T, T + offset))).toEqual([
    false,
    true,
    false,
    false,
    false,
    false,
    false,
    false,
    true,
  ])
})

it('is over when the clocks agree again', () => {
  const watch = new ClockWatch()
  watch.observe(T, T, T + 60_000)
  watch.observe(T, T, T)
  expect(watch.finding).toBeNull()
})
