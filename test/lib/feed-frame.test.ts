import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import { EventStreamParser } from '../../lib/event-stream.ts'
import { formatFrame, formatOpen, parseFrame, parseOpen } from '../../lib/feed-frame.ts'
import { REVOKED } from '../../lib/heard-set.ts'

function eventOf(text: string) {
  const [event] = new EventStreamParser(1_000_000).push(new TextEncoder().encode(text))
  if (event === undefined) throw new Error('no event')
  return event
}

describe('the feed on the wire', () => {
  it('is JSON that other languages read too: what is revoked has no ver', () => {
    const entries = [
      { sid: 'a', ver: REVOKED },
      { sid: 'b', ver: 7 },
    ]
    const text = formatFrame({ entries, more: false, asOf: 12.7, now: 99 }, '42')
    expect(text).toBe(
      'id: 42\nevent: feed\ndata: {"entries":[{"sid":"a"},{"sid":"b","ver":7}],"as_of":12,"now":99}\n\n',
    )
  })

  it('comes back as it went', () => {
    const ver = fc.oneof(fc.constant(REVOKED), fc.nat())
    const sid = fc.string({ minLength: 1, unit: 'grapheme-ascii' })
    const entries = fc.array(fc.record({ sid, ver }))
    fc.assert(
      fc.property(entries, fc.boolean(), fc.nat(), fc.nat(), (list, more, asOf, now) => {
        const frame = { entries: list, more, asOf, now }
        const { event, data, id } = eventOf(formatFrame(frame, more ? undefined : '1'))
        expect([event, id]).toEqual(['feed', more ? undefined : '1'])
        expect(parseFrame(data)).toEqual(frame)
      }),
    )
  })

  it('begins with the steady clock of who sends it, rounded so that nothing looks newer', () => {
    const { event, data } = eventOf(formatOpen(10.2))
    expect(event).toBe('open')
    expect(parseOpen(data)).toBe(11)
  })

  const good = { entries: [{ sid: 'a' }], as_of: 1, now: 1 }

  it.each([
    ['no JSON', '{'],
    ['a list', '[]'],
    ['no entries', JSON.stringify({ ...good, entries: undefined })],
    ['entries that are no list', JSON.stringify({ ...good, entries: {} })],
    ['an entry that is none', JSON.stringify({ ...good, entries: ['a'] })],
    ['an entry that is null', JSON.stringify({ ...good, entries: [null] })],
    ['an entry without sid', JSON.stringify({ ...good, entries: [{ ver: 1 }] })],
    ['an entry whose sid is no name', JSON.stringify({ ...good, entries: [{ sid: '' }] })],
    ['a ver that is a text', JSON.stringify({ ...good, entries: [{ sid: 'a', ver: '1' }] })],
    ['a ver that is null', JSON.stringify({ ...good, entries: [{ sid: 'a', ver: null }] })],
    ['a ver below zero', JSON.stringify({ ...good, entries: [{ sid: 'a', ver: -1 }] })],
    ['no as_of', JSON.stringify({ ...good, as_of: undefined })],
    ['no now', JSON.stringify({ ...good, now: null })],
    ['a more that is none', JSON.stringify({ ...good, more: 1 })],
  ])('counts as not heard with %s', (_what, data) => {
    expect(() => parseFrame(data)).toThrow(TypeError)
  })

  it.each(['', '{}', '{"clock":"1"}'])('does not begin with %j', (data) => {
    expect(() => parseOpen(data)).toThrow(TypeError)
  })

  it('takes members of a later version', () => {
    expect(parseFrame(JSON.stringify({ ...good, later: 1 })).entries).toHaveLength(1)
  })
})
