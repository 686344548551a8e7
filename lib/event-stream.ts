/** One event of a stream. */
export interface ServerSentEvent {
  /** Its type; `message` when the stream names none. */
  readonly event: string
  readonly data: string
  /** The id it came with, undefined when it had none of its own. */
  readonly id: string | undefined
}

/**
 * Reads a stream of events (WHATWG HTML §9.2) piece by piece, wherever the pieces are cut: amid a
 * line, a line's end, or a character.
 *
 * @throws {RangeError} from `push`, when an event grows beyond `maxLength`
 */
export class EventStreamParser {
  readonly #maxLength: number
  readonly #decoder = new TextDecoder()
  /** What came of a line whose end did not. */
  #rest = ''
  /** The last piece ended in CR: an LF in front of the next one belongs to it. */
  #endedInCr = false
  #event = ''
  #data: string[] = []
  #dataLength = 0
  #id: string | undefined

  /** @param maxLength - characters an event may have */
  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  /** The events that are complete with this piece. */
  push(bytes: Uint8Array): ServerSentEvent[] {
    const events: ServerSentEvent[] = []
    let text = this.#decoder.decode(bytes, { stream: true })
    if (text === '') return events
    if (this.#endedInCr && text.startsWith('\n')) text = text.slice(1)
    this.#endedInCr = text.endsWith('\r')
    const lines = text.split(/\r\n|\n|\r/)
    lines[0] = this.#rest + (lines[0] ?? '')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line !== '') this.#field(line)
      else if (this.#data.length > 0) events.push(this.#take())
      else this.#clear()
    }
    if (this.#rest.length + this.#dataLength > this.#maxLength) {
      throw new RangeError('an event is too long')
    }
    return events
  }

  #field(line: string): void {
    const colon = line.indexOf(':')
    if (colon === 0) return
    const name = colon === -1 ? line : line.slice(0, colon)
    const text = colon === -1 ? '' : line.slice(colon + 1)
    const value = text.startsWith(' ') ? text.slice(1) : text
    if (name === 'data') {
      this.#data.push(value)
      this.#dataLength += value.length + 1
      if (this.#dataLength > this.#maxLength) throw new RangeError('an event is too long')
    } else if (name === 'event') this.#event = value
    else if (name === 'id' && !value.includes('\0')) this.#id = value
  }

  #take(): ServerSentEvent {
    const event = {
      event: this.#event === '' ? 'message' : this.#event,
      data: this.#data.join('\n'),
      id: this.#id,
    }
    this.#clear()
    return event
  }

  #clear(): void {
    this.#event = ''
    this.#data = []
    this.#dataLength = 0
    this.#id = undefined
  }
}
