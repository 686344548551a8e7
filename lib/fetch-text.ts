/** What an HTTP server answered. */
export interface FetchedText {
  readonly text: string
  readonly headers: { get(name: string): string | null }
}

/**
 * Gets a text of bounded length within bounded time. A redirect is refused: it would let whoever
 * answers once choose for good whom we trust, or make us ask hosts of theirs.
 *
 * @throws {Error} for every status but 200, a text that is longer or no UTF-8, and when it took too
 *   long
 */
export async function fetchText(
  url: URL,
  bounds: {
    readonly timeoutMs: number
    readonly maxBytes: number
    readonly accept: string
    readonly signal: AbortSignal
  },
): Promise<FetchedText> {
  const { timeoutMs, maxBytes, accept } = bounds
  const response = await fetch(url, {
    // Asked for again because something changed: what a proxy has kept is of no use.
    headers: { Accept: accept, 'Cache-Control': 'no-cache' },
    // Not 'error', which some runtimes do not have: a redirect is then a status like any other.
    redirect: 'manual',
    signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), bounds.signal]),
  })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`answered ${response.status}`)
  }
  return { text: await readText(response, maxBytes), headers: response.headers }
}

async function readText(response: Response, maxBytes: number): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  let bytes = 0
  const reader = response.body?.getReader()
  if (reader === undefined) return text
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    bytes += value.byteLength
    // Counted as it comes: Content-Length may be missing, wrong, or of a compressed body.
    if (bytes > maxBytes) {
      await reader.cancel()
      throw new Error(`is longer than ${maxBytes} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}
