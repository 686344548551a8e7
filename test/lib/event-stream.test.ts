import { describe, expect, it } from '@jest/globals'
import * as fc from 'fast-check'
import type { ServerSentEvent } from '../../lib/event-stream.ts'
import { EventStreamParser } from '../../lib/event-stream.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

/** The events of a text, as [event, data, id], when it comes in pieces of this many bytes. */
function parse(text: string, size = Infinity, maxLength = 1000): unknown[][] {
  const parser = new EventStreamParser(maxLength)
  const all = bytes(text)
  const events: ServerSentEvent[] = []
  for (let start = 0; start < all.length; start += size) {
    events.push(...parser.push(all.slice(start, start + size)))
  }
  return events.map(({ event, data, id }) => [event, data, id])
}

describe('a stream of events (WHATWG HTML §9.2.6)', () => {
  it.each<[string, string, unknown[][]]>([
    ['data', 'data: a\n\n', [['message', 'a', undefined]]],
    ['a type and an id', 'event: feed\nid: 7\ndata: a\n\n', [['feed', 'a', '7']]],
    ['data of several lines', 'data: a\ndata:b\ndata\n\n', [['message', 'a\nb\n', undefined]]],
    ['only the first blank after a colon', 'data:  a \n\n', [['message', ' a ', undefined]]],
    ['no comments', ': beat\n\n:\n\ndata: a\n:x\n\n', [['message', 'a', undefined]]],
    ['no fields it does not know', 'retry: 5\nfoo: b\ndata: a\n\n', [['message', 'a', undefined]]],
    ['nothing without data', 'event: feed\nid: 7\n\ndata: a\n\n', [['message', 'a', undefined]]],
    ['nothing before the blank line', 'data: a\n', []],
    ['an id of nothing', 'id\ndata: a\n\n', [['message', 'a', '']]],
    ['no id with NUL', 'id: 1\0\ndata: a\n\n', [['message', 'a', undefined]]],
    ['no byte order mark', '\ufeffdata: a\n\n', [['message', 'a', undefined]]],
    [
      'lines by CR',
      'data: a\r\rdata: b\r\r',
      [
        ['message', 'a', undefined],
        ['message', 'b', undefined],
      ],
    ],
    [
      'lines by CRLF',
      'data: a\r\n\r\ndata: b\r\n\r\n',
      [
        ['message', 'a', undefined],
        ['message', 'b', undefined],
      ],
    ],
    [
      'lines by either',
      'data: a\r\n\ndata: b\n\r\n',
      [
        ['message', 'a', undefined],
        ['message', 'b', undefined],
      ],
    ],
  ])('has %s', (_what, text, events) => {
    expect(parse(text)).toEqual(events)
    expect(parse(text, 1)).toEqual(events)
  })

  it('is the same however it is cut', () => {
    const line = fc.constantFrom(
      'data: ä€😀',
      'data:',
      'event: x',
      'id: 1',
      ': c',
      'x',
      '',
      '\ud83d',
    )
    const end = fc.constantFrom('\n', '\r', '\r\n')
    const text = fc.array(fc.tuple(line, end), { maxLength: 20 }).map((all) => all.flat().join(''))
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 7 }), (stream, size) => {
        expect(parse(stream, size)).toEqual(parse(stream))
      }),
      { numRuns: 500 },
    )
  })

  it.each([
    ['a line without end', ['data: ', 'a'.repeat(11)]],
    ['a comment without end', [':', 'a'.repeat(11)]],
    ['lines without end', Array.from({ length: 12 }, () => 'data: a\n')],
  ])('is refused with %s', (_what, pieces) => {
    const parser = new EventStreamParser(10)
    expect(() => pieces.map((piece) => parser.push(bytes(piece)))).toThrow(RangeError)
  })

  it('may be as long as it likes in events that are short', () => {
    expect(parse('data: aaaaa\n\n'.repeat(1000), 11, 20)).toHaveLength(1000)
  })
})
